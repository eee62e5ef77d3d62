// The export table of the addon.
#include "collective.h"
#include "handles.h"
#include "image.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  auto* state = new esvit::State();
  env.SetInstanceData<esvit::State>(state);
  esvit::InitDispatch(env, exports);
  esvit::InitTensor(env, exports);
  esvit::InitAutograd(env, exports);
  esvit::InitRuntime(env, exports);
  esvit::InitFused(env, exports);
  esvit::InitPasses(env, exports);
  esvit::InitCollective(env, exports);
  InitImage(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(esvit, Init)
