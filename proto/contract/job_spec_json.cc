#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>

#include "proto/contract/ids.h"
#include "proto/contract/job_spec.h"

// JobSpec as JSON. Outside bytes: sizes capped, types and names checked, nothing guessed.

namespace filigree::contract {
namespace {

using Json = nlohmann::ordered_json;

constexpr Backend kBackends[] = {Backend::kLocal, Backend::kGloo, Backend::kMpi, Backend::kNccl};

// Takes the fields of one JSON object apart; the first problem wins and is kept in `wrong`.
class Reader {
 public:
  Reader(const Json& object, std::string where, std::string& wrong)
      : object_(object), where_(std::move(where)), wrong_(wrong) {
    if (!object.is_object()) Fail("", "is no JSON object");
  }

  void Text(const char* key, std::string& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_string()) return Fail(key, "a text was expected");
    value = found->get<std::string>();
  }

  template <typename Int>
  void Number(const char* key, Int& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    const bool whole = found->is_number_integer();
    const bool fits = whole && (!found->is_number_unsigned() ||
                                found->get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()});
    const int64_t number = fits ? found->get<int64_t>() : 0;
    if (!fits || number < std::numeric_limits<Int>::min() || number > std::numeric_limits<Int>::max())
      return Fail(key, "a whole number was expected that fits");
    value = static_cast<Int>(number);
  }

  void Texts(const char* key, std::vector<std::string>& values) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_array() || found->size() > kMaxArguments)
      return Fail(key, fmt::format("a list of at most {} texts was expected", kMaxArguments));
    values.clear();
    values.reserve(found->size());
    for (const Json& element : *found) {
      if (!element.is_string()) return Fail(key, "a list of texts was expected");
      values.push_back(element.get<std::string>());
    }
  }

  void Choice(const char* key, Backend& value) {
    std::string word = Name(value);
    Text(key, word);
    for (const Backend backend : kBackends)
      if (word == Name(backend)) {
        value = backend;
        return;
      }
    Fail(key, Shown(word) + " is unknown; local, gloo, mpi or nccl was expected");
  }

  // The object under that key, or null.
  const Json* Find(const char* key) {
    if (!wrong_.empty()) return nullptr;
    const auto found = object_.find(key);
    if (found == object_.end()) return nullptr;
    ++known_;
    return &*found;
  }

  // Every key must have been asked for.
  void Finish(const std::vector<std::string>& known) {
    if (!wrong_.empty() || known_ == object_.size()) return;
    for (const auto& [key, value] : object_.items())
      if (std::find(known.begin(), known.end(), key) == known.end())
        return Fail("", "has an unknown field " + Shown(key));
  }

 private:
  void Fail(const std::string& key, const std::string& text) {
    if (!wrong_.empty()) return;
    const std::string field = key.empty() || where_.empty() ? where_ + key : where_ + "." + key;
    wrong_ = field.empty() ? text : field + ": " + text;
  }

  const Json& object_;
  const std::string where_;  // the field that holds the object; empty: the whole text
  std::string& wrong_;
  size_t known_ = 0;
};

}  // namespace

std::string EncodeJobSpec(const JobSpec& spec) {
  const Json json = {
      {"name", spec.name},
      {"config", spec.config},
      {"arguments", spec.arguments},
      {"data", spec.data},
      {"tensor", spec.tensor},
      {"min_data", spec.min_data},
      {"priority", spec.priority},
      {"idempotency_key", spec.idempotency_key},
      {"backend", Name(spec.backend)},
      {"restart_limit", spec.restart_limit},
      {"deadlines",
       {{"queue", spec.deadlines.queue}, {"start", spec.deadlines.start}, {"drain", spec.deadlines.drain}}}};
  // A valid spec is UTF-8; of any other one the bad bytes are replaced rather than the process ended.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<JobSpec> DecodeJobSpec(std::string_view text, std::string_view where) {
  const auto wrong_input = [&](std::string_view wrong) {
    return absl::InvalidArgumentError(fmt::format("{}: {}", where, wrong));
  };
  if (text.size() > kMaxEncodedSpecBytes)
    return wrong_input(fmt::format("has {} bytes; at most {} are taken", text.size(), kMaxEncodedSpecBytes));
  const Json json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (json.is_discarded()) return wrong_input("is no JSON");
  JobSpec spec;
  std::string wrong;
  Reader reader(json, "", wrong);
  reader.Text("name", spec.name);
  reader.Text("config", spec.config);
  reader.Texts("arguments", spec.arguments);
  reader.Number("data", spec.data);
  reader.Number("tensor", spec.tensor);
  reader.Number("min_data", spec.min_data);
  reader.Number("priority", spec.priority);
  reader.Text("idempotency_key", spec.idempotency_key);
  reader.Choice("backend", spec.backend);
  reader.Number("restart_limit", spec.restart_limit);
  if (const Json* found = reader.Find("deadlines"); found != nullptr) {
    Reader deadlines(*found, "deadlines", wrong);
    deadlines.Number("queue", spec.deadlines.queue);
    deadlines.Number("start", spec.deadlines.start);
    deadlines.Number("drain", spec.deadlines.drain);
    deadlines.Finish({"queue", "start", "drain"});
  }
  reader.Finish({"name", "config", "arguments", "data", "tensor", "min_data", "priority", "idempotency_key", "backend",
                 "restart_limit", "deadlines"});
  if (!wrong.empty()) return wrong_input(wrong);
  if (absl::Status status = Validate(spec); !status.ok()) return wrong_input(std::string(status.message()));
  return spec;
}

}  // namespace filigree::contract
