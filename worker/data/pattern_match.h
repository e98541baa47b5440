#ifndef FILIGREE_WORKER_DATA_PATTERN_MATCH_H_
#define FILIGREE_WORKER_DATA_PATTERN_MATCH_H_

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace filigree::data {

// Calls `visit` with every match of `pattern` in `text`, in order, none empty; PCRE2 with UTF and UCP. `text` must be
// valid UTF-8 and the pattern ours: anything else is a broken contract (CHECK).
void ForEachMatch(const std::string& pattern, std::string_view text,
                  const std::function<void(size_t begin, size_t end)>& visit);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_PATTERN_MATCH_H_
