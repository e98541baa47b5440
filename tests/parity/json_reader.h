#ifndef FILIGREE_TESTS_PARITY_JSON_READER_H_
#define FILIGREE_TESTS_PARITY_JSON_READER_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace filigree::parity {

// Reads the values of one JSON object and remembers the first thing that was wrong, so that a struct can be filled line
// by line and the status asked once. A key that is absent or null has its default; without a default it is required.
class JsonReader {
 public:
  // Borrows `object`. `where` is for messages: "topk_gelu.json: config".
  JsonReader(const nlohmann::json& object, std::string where);

  double Number(const std::string& key, std::optional<double> fallback = std::nullopt);
  // Between `low` and `high`.
  int64_t Integer(const std::string& key, int64_t low, int64_t high, std::optional<int64_t> fallback = std::nullopt);
  bool Boolean(const std::string& key, bool fallback);
  std::string Text(const std::string& key, const std::string& fallback);
  bool Has(const std::string& key) const;

  // Keys of the object that were never asked for.
  std::vector<std::string> Unread() const;

  const absl::Status& status() const { return status_; }

 private:
  // The value of a key, or null where the default holds; notes a missing one.
  const nlohmann::json* Find(const std::string& key, bool required);
  void Fail(const std::string& message);

  const nlohmann::json& object_;
  std::string where_;
  std::set<std::string> read_;
  absl::Status status_;
};

}  // namespace filigree::parity

#endif  // FILIGREE_TESTS_PARITY_JSON_READER_H_
