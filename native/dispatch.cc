// Any operator by name: JavaScript values -> IValue stack by the operator's own schema -> boxed call -> back.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/jit_type.h>
#include <c10/util/SmallVector.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "handles.h"

namespace esvit {
namespace {

using c10::IValue;
using c10::TypeKind;

constexpr double kMaxSafe = 9007199254740991.0;  // 2^53 - 1

// Which argument a complaint is about; the text is only put together where there is one.
struct Where {
  const std::string& argument;
  operator std::string() const { return "argument '" + argument + "'"; }
};

std::runtime_error wrong(const Where& where, const std::string& what) {
  return std::runtime_error(std::string(where) + ": " + what);
}

int64_t toInt(const Napi::Value& value, const Where& what) {
  if (value.IsBigInt()) {
    bool lossless = false;
    const int64_t number = value.As<Napi::BigInt>().Int64Value(&lossless);
    if (!lossless) throw wrong(what, "the bigint does not fit 64 bits");
    return number;
  }
  if (value.IsBoolean()) return value.As<Napi::Boolean>().Value();
  if (!value.IsNumber()) throw wrong(what, "expected an integer");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (std::trunc(number) != number || std::abs(number) > kMaxSafe) {
    std::ostringstream text;
    text << "expected an exact integer, received " << number;
    throw wrong(what, text.str());
  }
  return static_cast<int64_t>(number);
}

// dtype, layout and memory_format are integers in a schema and names in JavaScript.
int64_t enumOf(const std::string& name) {
  if (name == "strided") return static_cast<int64_t>(at::kStrided);
  if (name == "contiguous") return static_cast<int64_t>(at::MemoryFormat::Contiguous);
  if (name == "preserve") return static_cast<int64_t>(at::MemoryFormat::Preserve);
  if (name == "channels_last") return static_cast<int64_t>(at::MemoryFormat::ChannelsLast);
  if (name == "channels_last_3d") return static_cast<int64_t>(at::MemoryFormat::ChannelsLast3d);
  return static_cast<int64_t>(dtypeOf(name));
}

at::Scalar toScalar(const Napi::Value& value, const Where& what) {
  if (value.IsBoolean()) return at::Scalar(value.As<Napi::Boolean>().Value());
  if (value.IsBigInt()) return at::Scalar(toInt(value, what));
  if (!value.IsNumber()) throw wrong(what, "expected a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  // A whole number is an integer scalar, as a literal would be in Python: int tensors keep their dtype.
  if (std::trunc(number) == number && std::abs(number) <= kMaxSafe) return at::Scalar(static_cast<int64_t>(number));
  return at::Scalar(number);
}

at::Tensor toTensor(Napi::Env env, const Napi::Value& value, const Where& what) {
  const napi_valuetype kind = value.Type();
  if (kind == napi_number || kind == napi_boolean || kind == napi_bigint) {
    at::Tensor wrapped = c10::scalar_to_tensor(toScalar(value, what));
    wrapped.unsafeGetTensorImpl()->set_wrapped_number(true);
    return wrapped;
  }
  try {
    return tensorOf(env, value);
  } catch (const std::runtime_error& error) {
    throw wrong(what, error.what());
  }
}

IValue toIValue(Napi::Env env, const Napi::Value& value, const c10::TypePtr& type, int fixedSize,
                const Where& what) {
  const bool absent = value.IsNull() || value.IsUndefined();
  switch (type->kind()) {
    case TypeKind::OptionalType:
      if (absent) return IValue();
      return toIValue(env, value, type->castRaw<c10::OptionalType>()->getElementType(), fixedSize, what);
    case TypeKind::TensorType:
      if (absent) return IValue(at::Tensor());
      return IValue(toTensor(env, value, what));
    case TypeKind::NumberType:
      return IValue(toScalar(value, what));
    case TypeKind::IntType:
    case TypeKind::SymIntType:
      if (value.IsString()) return IValue(enumOf(value.As<Napi::String>().Utf8Value()));
      return IValue(toInt(value, what));
    case TypeKind::FloatType:
      if (!value.IsNumber()) throw wrong(what, "expected a number");
      return IValue(value.As<Napi::Number>().DoubleValue());
    case TypeKind::BoolType:
      if (!value.IsBoolean()) throw wrong(what, "expected true or false");
      return IValue(value.As<Napi::Boolean>().Value());
    case TypeKind::StringType:
      if (!value.IsString()) throw wrong(what, "expected a string");
      return IValue(value.As<Napi::String>().Utf8Value());
    case TypeKind::DeviceObjType:
      if (!value.IsString()) throw wrong(what, "expected a device such as 'cpu' or 'cuda:0'");
      return IValue(c10::Device(value.As<Napi::String>().Utf8Value()));
    case TypeKind::GeneratorType: {
      State& state = stateOf(env);
      const uint32_t index = value.As<Napi::Object>().Get("generator").As<Napi::Number>().Uint32Value();
      if (index >= state.generators.size()) throw wrong(what, "unknown generator");
      return IValue(state.generators[index]);
    }
    case TypeKind::ListType: {
      const c10::TypePtr element = type->castRaw<c10::ListType>()->getElementType();
      // Small lists, such as shapes, are read without memory of their own.
      c10::SmallVector<Napi::Value, 8> values;
      if (value.IsArray()) {
        const auto array = value.As<Napi::Array>();
        const uint32_t length = array.Length();
        values.reserve(length);
        for (uint32_t i = 0; i < length; i++) values.push_back(array.Get(i));
      } else if (fixedSize > 0) {  // int[2] takes one number for all places
        values.assign(static_cast<size_t>(fixedSize), value);
      } else {
        throw wrong(what, "expected an array");
      }
      switch (element->kind()) {
        case TypeKind::TensorType: {
          c10::List<at::Tensor> list;
          list.reserve(values.size());
          for (const auto& item : values) list.push_back(toTensor(env, item, what));
          return IValue(std::move(list));
        }
        case TypeKind::IntType:
        case TypeKind::SymIntType: {
          c10::List<int64_t> list;
          list.reserve(values.size());
          for (const auto& item : values) list.push_back(toInt(item, what));
          return IValue(std::move(list));
        }
        case TypeKind::FloatType: {
          c10::List<double> list;
          for (const auto& item : values) list.push_back(item.As<Napi::Number>().DoubleValue());
          return IValue(std::move(list));
        }
        case TypeKind::BoolType: {
          c10::List<bool> list;
          for (const auto& item : values) list.push_back(item.As<Napi::Boolean>().Value());
          return IValue(std::move(list));
        }
        default: {
          c10::impl::GenericList list(element);
          for (const auto& item : values) list.push_back(toIValue(env, item, element, 0, what));
          return IValue(std::move(list));
        }
      }
    }
    default:
      throw wrong(what, "arguments of type " + type->str() + " are not supported");
  }
}

Napi::Value intValue(Napi::Env env, int64_t number) {
  if (std::abs(static_cast<double>(number)) <= kMaxSafe) return Napi::Number::New(env, static_cast<double>(number));
  return Napi::BigInt::New(env, number);
}

// Tensors come back as handles, an undefined tensor as null; the generated wrapper knows which is which.
Napi::Value toJs(Napi::Env env, IValue value) {
  if (value.isTensor()) {
    at::Tensor tensor = std::move(value).toTensor();
    if (!tensor.defined()) return env.Null();
    return Napi::Number::New(env, keep(env, std::move(tensor)));
  }
  if (value.isInt()) return intValue(env, value.toInt());
  if (value.isDouble()) return Napi::Number::New(env, value.toDouble());
  if (value.isBool()) return Napi::Boolean::New(env, value.toBool());
  if (value.isString()) return Napi::String::New(env, value.toStringRef());
  if (value.isNone()) return env.Null();
  if (value.isTuple() || value.isList()) {
    const auto elements = value.isTuple() ? std::vector<IValue>(value.toTupleRef().elements().begin(),
                                                                value.toTupleRef().elements().end())
                                          : value.toListRef().vec();
    auto array = Napi::Array::New(env, elements.size());
    for (size_t i = 0; i < elements.size(); i++) array.Set(static_cast<uint32_t>(i), toJs(env, elements[i]));
    return array;
  }
  throw std::runtime_error("results of type " + value.tagKind() + " are not supported");
}

void describe(Napi::Env env, std::ostream& out, const Napi::Value& value) {
  if (value.IsArray()) {
    const auto array = value.As<Napi::Array>();
    out << '[';
    for (uint32_t i = 0; i < array.Length() && i < 8; i++) {
      if (i) out << ", ";
      describe(env, out, array.Get(i));
    }
    out << (array.Length() > 8 ? ", ...]" : "]");
  } else if (value.IsObject()) {
    try {
      const at::Tensor& tensor = tensorOf(env, value);
      out << nameOf(tensor.scalar_type()) << '[';
      for (int64_t i = 0; i < tensor.dim(); i++) out << (i ? "x" : "") << tensor.size(i);
      out << ']';
      if (!tensor.device().is_cpu()) out << '@' << tensor.device().str();
    } catch (const std::exception&) {
      out << "freed tensor";
    }
  } else {
    out << value.ToString().Utf8Value();
  }
}

Napi::Value call(const Napi::CallbackInfo& info, bool wantsResult) {
  const Napi::Env env = info.Env();
  State& state = stateOf(env);
  if (!state.released.empty()) state.drainReleased(env);
  const auto& op = state.operators.at(info[0].As<Napi::Number>().Uint32Value());
  const auto& schema = op.handle.schema();
  try {
    const auto& arguments = schema.arguments();
    torch::jit::Stack stack;
    stack.reserve(arguments.size());
    for (size_t i = 0; i < arguments.size(); i++) {
      const auto& argument = arguments[i];
      const int position = op.position[i];
      const Napi::Value value =
          position >= 0 && static_cast<size_t>(position) + 1 < info.Length() ? info[position + 1] : env.Undefined();
      if (value.IsUndefined()) {
        if (argument.default_value()) {
          stack.emplace_back(*argument.default_value());
          continue;
        }
        if (argument.type()->kind() != TypeKind::OptionalType)
          throw std::runtime_error("argument '" + argument.name() + "' is missing");
      }
      const int fixedSize = argument.N() ? static_cast<int>(*argument.N()) : 0;
      stack.push_back(toIValue(env, value, argument.type(), fixedSize, Where{argument.name()}));
    }
    op.handle.callBoxed(&stack);
    if (!wantsResult || stack.empty()) return env.Undefined();
    if (stack.size() == 1) return toJs(env, std::move(stack[0]));
    auto results = Napi::Array::New(env, stack.size());
    for (size_t i = 0; i < stack.size(); i++) results.Set(static_cast<uint32_t>(i), toJs(env, std::move(stack[i])));
    return results;
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    std::ostringstream text;
    text << schema.name() << '(';
    for (size_t i = 1; i < info.Length(); i++) {
      if (i > 1) text << ", ";
      describe(env, text, info[i]);
    }
    text << "): " << messageOf(error);
    throw Napi::Error::New(env, text.str());
  }
}

// resolve(name, overload, argumentNames) -> number of the operator, or -1 where this libtorch lacks it.
Napi::Value resolve(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    State& state = stateOf(env);
    const std::string name = info[0].As<Napi::String>().Utf8Value();
    const std::string overload = info[1].As<Napi::String>().Utf8Value();
    const auto handle = c10::Dispatcher::singleton().findSchema({name, overload});
    if (!handle.has_value()) return Napi::Number::New(env, -1);
    Operator op{*handle, {}};
    const auto wanted = info[2].As<Napi::Array>();
    std::vector<std::string> names;
    for (uint32_t i = 0; i < wanted.Length(); i++) names.push_back(wanted.Get(i).As<Napi::String>().Utf8Value());
    size_t found = 0;
    for (const auto& argument : handle->schema().arguments()) {
      int position = -1;
      for (size_t i = 0; i < names.size(); i++)
        if (names[i] == argument.name()) position = static_cast<int>(i);
      if (position >= 0) found++;
      op.position.push_back(position);
    }
    if (found != names.size())
      throw std::runtime_error(name + "." + overload + ": this libtorch's operator lacks an argument that we pass");
    state.operators.push_back(std::move(op));
    return Napi::Number::New(env, static_cast<double>(state.operators.size() - 1));
  });
}

// schemas(names) -> the registry's own description of each "aten::name.overload", for the generator.
Napi::Value schemas(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto wanted = info[0].As<Napi::Array>();
    auto result = Napi::Array::New(env);
    for (uint32_t i = 0; i < wanted.Length(); i++) {
      const std::string full = wanted.Get(i).As<Napi::String>().Utf8Value();
      const auto dot = full.find('.');
      const std::string overload = dot == std::string::npos ? "" : full.substr(dot + 1);
      const auto handle = c10::Dispatcher::singleton().findSchema({full.substr(0, dot), overload});
      if (!handle.has_value()) {
        result.Set(i, env.Null());
        continue;
      }
      const auto& schema = handle->schema();
      auto description = Napi::Object::New(env);
      std::ostringstream text;
      text << schema;
      description.Set("text", text.str());
      auto arguments = Napi::Array::New(env);
      for (size_t a = 0; a < schema.arguments().size(); a++) {
        const auto& argument = schema.arguments()[a];
        auto entry = Napi::Object::New(env);
        entry.Set("name", argument.name());
        entry.Set("type", argument.type()->annotation_str());
        entry.Set("keywordOnly", argument.kwarg_only());
        entry.Set("hasDefault", argument.default_value().has_value());
        entry.Set("size", argument.N() ? static_cast<double>(*argument.N()) : 0.0);
        entry.Set("written", argument.alias_info() != nullptr && argument.alias_info()->isWrite());
        arguments.Set(static_cast<uint32_t>(a), entry);
      }
      description.Set("arguments", arguments);
      auto returns = Napi::Array::New(env);
      for (size_t r = 0; r < schema.returns().size(); r++) {
        const auto& value = schema.returns()[r];
        auto entry = Napi::Object::New(env);
        entry.Set("type", value.type()->annotation_str());
        entry.Set("written", value.alias_info() != nullptr && value.alias_info()->isWrite());
        returns.Set(static_cast<uint32_t>(r), entry);
      }
      description.Set("returns", returns);
      result.Set(i, description);
    }
    return result;
  });
}

}  // namespace

void InitDispatch(Napi::Env env, Napi::Object exports) {
  exports.Set("call", Napi::Function::New(env, [](const Napi::CallbackInfo& info) { return call(info, true); }));
  exports.Set("run", Napi::Function::New(env, [](const Napi::CallbackInfo& info) { return call(info, false); }));
  exports.Set("resolve", Napi::Function::New(env, resolve));
  exports.Set("schemas", Napi::Function::New(env, schemas));
}

}  // namespace esvit
