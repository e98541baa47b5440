#include "tests/parity/json_reader.h"

#include <utility>

#include "fmt/format.h"

namespace filigree::parity {

JsonReader::JsonReader(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {
  if (!object_.is_object()) Fail("expected an object");
}

void JsonReader::Fail(const std::string& message) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(fmt::format("{}: {}", where_, message));
}

bool JsonReader::Has(const std::string& key) const {
  return object_.is_object() && object_.contains(key) && !object_[key].is_null();
}

const nlohmann::json* JsonReader::Find(const std::string& key, bool required) {
  read_.insert(key);
  if (Has(key)) return &object_[key];
  if (required) Fail(fmt::format("'{}' is missing", key));
  return nullptr;
}

double JsonReader::Number(const std::string& key, std::optional<double> fallback) {
  const nlohmann::json* value = Find(key, !fallback.has_value());
  if (value == nullptr) return fallback.value_or(0);
  if (!value->is_number()) Fail(fmt::format("'{}' is {}, a number was expected", key, value->dump()));
  return value->is_number() ? value->get<double>() : 0;
}

int64_t JsonReader::Integer(const std::string& key, int64_t low, int64_t high, std::optional<int64_t> fallback) {
  const nlohmann::json* value = Find(key, !fallback.has_value());
  if (value == nullptr) return fallback.value_or(low);
  if (value->is_number_integer()) {
    const auto number = value->get<int64_t>();
    if (low <= number && number <= high) return number;
  }
  Fail(fmt::format("'{}' is {}, an integer from {} to {} was expected", key, value->dump(), low, high));
  return low;
}

bool JsonReader::Boolean(const std::string& key, bool fallback) {
  const nlohmann::json* value = Find(key, false);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) Fail(fmt::format("'{}' is {}, true or false was expected", key, value->dump()));
  return value->is_boolean() ? value->get<bool>() : fallback;
}

std::string JsonReader::Text(const std::string& key, const std::string& fallback) {
  const nlohmann::json* value = Find(key, false);
  if (value == nullptr) return fallback;
  if (!value->is_string()) Fail(fmt::format("'{}' is {}, a text was expected", key, value->dump()));
  return value->is_string() ? value->get<std::string>() : fallback;
}

std::vector<std::string> JsonReader::Unread() const {
  std::vector<std::string> keys;
  if (!object_.is_object()) return keys;
  for (const auto& [key, value] : object_.items()) {
    if (!read_.contains(key)) keys.push_back(key);
  }
  return keys;
}

}  // namespace filigree::parity
