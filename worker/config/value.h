#ifndef FILIGREE_WORKER_CONFIG_VALUE_H_
#define FILIGREE_WORKER_CONFIG_VALUE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "worker/config/keys.h"

// One value of one key: from text, into Settings, checked, and back to text. Functions that can fail return what is
// wrong as a sentence that starts with the name of the key, empty where all is well.

namespace filigree::config {

// A value as it was written, before anybody asked whether it suits its key.
using Raw = std::variant<int64_t, double, bool, std::string, std::vector<std::string>>;

// Text of the command line as the type that `key` takes; text that is none of it stays text, for Set to refuse.
Raw FromText(const Key& key, std::string_view text);

// Stores `raw` under `key`. Numbers with a point are refused where a whole number is asked for; text is taken as a
// number where it is one or a fraction of two, as in "1/64".
std::string Set(const Key& key, const Raw& raw, Settings& settings);

// The sentence: the key is `shown` and what was expected of it.
std::string Wrong(const Key& key, const std::string& shown);

// The range of one key alone.
std::string CheckRange(const Key& key, const Settings& settings);

// The value as TOML: the shortest digits that read back to the same number.
std::string FormatValue(const Key& key, const Settings& settings);

// The same as a person would write it: without TOML's quotes.
std::string FormatReal(double x);

}  // namespace filigree::config

#endif  // FILIGREE_WORKER_CONFIG_VALUE_H_
