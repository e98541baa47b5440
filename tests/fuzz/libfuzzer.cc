#include <cstddef>
#include <cstdint>

#include "tests/fuzz/fuzz_target.h"

// The entry of clang's libFuzzer, which brings its own main.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  filigree::fuzz::Try({reinterpret_cast<const char*>(data), size});
  return 0;
}
