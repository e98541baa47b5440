#define PCRE2_CODE_UNIT_WIDTH 8
#include "worker/data/pattern_match.h"

#include <pcre2.h>

#include <memory>

#include "kernels/base/check.h"

namespace filigree::data {

void ForEachMatch(const std::string& pattern, std::string_view text,
                  const std::function<void(size_t begin, size_t end)>& visit) {
  int error = 0;
  PCRE2_SIZE error_offset = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP, &error,
                    &error_offset, nullptr),
      pcre2_code_free);
  CHECK(code != nullptr, "PCRE2 refuses the pattern {} at {}: error {}", pattern, error_offset, error);
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // where there is no JIT, pcre2_match interprets
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free);
  uint32_t options = 0;
  for (size_t at = 0; at < text.size();) {
    const int found = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, options,
                                  match.get(), nullptr);
    if (found == PCRE2_ERROR_NOMATCH) return;
    CHECK(found > 0, "PCRE2 fails with {} at byte {} of {}", found, at, text.size());
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
    CHECK(range[1] > range[0], "an empty match of {}", pattern);
    visit(range[0], range[1]);
    at = range[1];
    options = PCRE2_NO_UTF_CHECK;  // the first call has checked all of it
  }
}

}  // namespace filigree::data
