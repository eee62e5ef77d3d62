// Pillow's 8-bit picture arithmetic for JavaScript: crops, blur and colour steps on packed RGB bytes.
#pragma once

#include <napi.h>

void InitImage(Napi::Env env, Napi::Object exports);
