// Prepares the process before libtorch is loaded; itself free of libtorch. JavaScript cannot do it: a worker's process.env is a copy, and
// dlopen needs RTLD_GLOBAL for libtorch to reuse a library by its SONAME.
#include <dlfcn.h>
#include <node_api.h>
#include <stdlib.h>

static int string_argument(napi_env env, napi_value value, char* buffer, size_t size) {
  size_t length;
  return napi_get_value_string_utf8(env, value, buffer, size, &length) == napi_ok;
}

// preload(path): null, or why the library could not be loaded
static napi_value Preload(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument, result;
  char path[4096];
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  napi_get_null(env, &result);
  if (!string_argument(env, argument, path, sizeof path) || !dlopen(path, RTLD_NOW | RTLD_GLOBAL)) {
    const char* reason = dlerror();
    napi_create_string_utf8(env, reason ? reason : "path too long", NAPI_AUTO_LENGTH, &result);
  }
  return result;
}

// setEnvironment(name, value): keeps a value that the user set
static napi_value SetEnvironment(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  char name[256], value[4096];
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (string_argument(env, arguments[0], name, sizeof name) && string_argument(env, arguments[1], value, sizeof value)) setenv(name, value, 0);
  return NULL;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "preload", NAPI_AUTO_LENGTH, Preload, NULL, &function);
  napi_set_named_property(env, exports, "preload", function);
  napi_create_function(env, "setEnvironment", NAPI_AUTO_LENGTH, SetEnvironment, NULL, &function);
  napi_set_named_property(env, exports, "setEnvironment", function);
  return exports;
}
