#include "worker/checkpoint/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <nlohmann/json.hpp>

#include "worker/checkpoint/hashing.h"

namespace filigree::checkpoint {
namespace {

using nlohmann::json;

constexpr char kFormat[] = "filigree-checkpoint";
constexpr int kVersion = 3;            // the newest one, read and written where several ranks wrote
constexpr int kVersionCandidates = 2;  // where a tensor has candidates
constexpr int kVersionWhole = 1;       // else
constexpr int64_t kMostRows = 65536;   // of a tensor with candidates, and columns: kernels/csr/pattern.h
// The end of every manifest: the hash stands between these two.
constexpr char kBeforeHash[] = ",\n \"manifest_xxh3_128\": \"";
constexpr char kAfterHash[] = "\"\n}\n";
constexpr size_t kHashDigits = 32;

absl::Status Broken(const std::string& path, const std::string& what) {
  return absl::DataLossError(fmt::format("{}: {}", path, what));
}

json TensorJson(const ManifestTensor& tensor) {
  const char* mask = tensor.mask == MaskStorage::kNone     ? "none"
                     : tensor.mask == MaskStorage::kBitmap ? "bitmap"
                                                           : "values";
  const char* weight = tensor.weight == WeightStorage::kDense    ? "dense"
                       : tensor.weight == WeightStorage::kSparse ? "csr"
                                                                 : "candidates";
  json object = {{"name", tensor.name},
                 {"shape", tensor.shape},
                 {"weight", weight},
                 {"mask", mask},
                 {"moments", !tensor.moments         ? "none"
                             : tensor.candidates > 0 ? "candidates"
                                                     : "dense"},
                 {"kept", tensor.kept}};
  if (tensor.candidates > 0) object["candidates"] = tensor.candidates;
  return object;
}

// The text before the hash, checked against it.
absl::StatusOr<std::string> CheckedBody(const std::string& bytes, const std::string& path) {
  const std::string before = kBeforeHash, after = kAfterHash;
  const size_t tail = before.size() + kHashDigits + after.size();
  if (bytes.size() <= tail || bytes.compare(bytes.size() - after.size(), after.size(), after) != 0) {
    return Broken(path, "it does not end as a manifest ends; it was cut or damaged");
  }
  const std::string hashed = bytes.substr(0, bytes.size() - after.size() - kHashDigits);
  const std::string hash = bytes.substr(hashed.size(), kHashDigits);
  if (!hashed.ends_with(before) || Xxh3Hex(hashed) != hash) {
    return Broken(path, "its bytes do not match its own hash; it was damaged");
  }
  return hashed.substr(0, hashed.size() - before.size()) + "\n}";
}

// Reads members of one JSON object, remembering the first thing that was not as expected.
class Fields {
 public:
  Fields(const json& object, std::string& error) : object_(object), error_(error) {}

  template <typename T>
  T Unsigned(const char* key, uint64_t largest) {
    const json* value = Member(key, "a number that is not negative",
                               [&](const json& v) { return v.is_number_unsigned() && v.get<uint64_t>() <= largest; });
    return value == nullptr ? T{} : static_cast<T>(value->get<uint64_t>());
  }
  std::string Text(const char* key) {
    const json* value = Member(key, "text", [](const json& v) { return v.is_string(); });
    return value == nullptr ? "" : value->get<std::string>();
  }
  const json& Array(const char* key) {
    static const json empty = json::array();
    const json* value = Member(key, "a list", [](const json& v) { return v.is_array(); });
    return value == nullptr ? empty : *value;
  }
  const json& Object(const char* key) {
    static const json empty = json::object();
    const json* value = Member(key, "an object", [](const json& v) { return v.is_object(); });
    return value == nullptr ? empty : *value;
  }
  bool Has(const char* key) const { return object_.is_object() && object_.contains(key); }
  void Fail(const std::string& what) {
    if (error_.empty()) error_ = what;
  }

 private:
  template <typename Test>
  const json* Member(const char* key, const char* expected, Test test) {
    const bool found = object_.is_object() && object_.contains(key) && test(object_[key]);
    if (!found) Fail(fmt::format("'{}' is missing or not {}", key, expected));
    return found ? &object_[key] : nullptr;
  }
  const json& object_;
  std::string& error_;
};

ManifestFile ParseFile(const json& value, std::string& error) {
  Fields fields(value, error);
  ManifestFile file;
  file.role = fields.Text("role");
  file.name = fields.Text("name");
  file.bytes = fields.Unsigned<uint64_t>("bytes", INT64_MAX);
  file.xxh3_128 = fields.Text("xxh3_128");
  if (!SoundName(file.name)) fields.Fail("a file's name is not [A-Za-z0-9._-]{1,64}");
  return file;
}

// How the tensor is stored: one of the combinations of the format.
void ParseStorage(Fields& fields, ManifestTensor& tensor) {
  const std::string weight = fields.Text("weight"), mask = fields.Text("mask"), moments = fields.Text("moments");
  const bool on_candidates = tensor.candidates > 0;
  const auto is = [&](const char* w, const char* m) { return weight == w && mask == m; };
  const bool known = is("csr", "values") ||
                     (on_candidates ? is("candidates", "bitmap") : is("dense", "none") || is("dense", "bitmap"));
  if (!known || (moments != "none" && moments != (on_candidates ? "candidates" : "dense"))) {
    fields.Fail(fmt::format("tensor '{}' is stored in a way this program does not know", tensor.name));
  }
  tensor.weight = weight == "csr"          ? WeightStorage::kSparse
                  : weight == "candidates" ? WeightStorage::kCandidates
                                           : WeightStorage::kDense;
  tensor.mask = mask == "values"   ? MaskStorage::kWithValues
                : mask == "bitmap" ? MaskStorage::kBitmap
                                   : MaskStorage::kNone;
  tensor.moments = moments != "none";
}

ManifestTensor ParseTensor(const json& value, int version, std::string& error) {
  Fields fields(value, error);
  ManifestTensor tensor;
  tensor.name = fields.Text("name");
  if (!SoundName(tensor.name)) fields.Fail("a tensor's name is not [A-Za-z0-9._-]{1,64}");
  uint64_t elements = 1;
  for (const json& dim : fields.Array("shape")) {
    const bool sound = dim.is_number_unsigned() && dim.get<uint64_t>() >= 1 &&
                       !__builtin_mul_overflow(elements, dim.get<uint64_t>(), &elements) && elements <= INT64_MAX / 8;
    if (!sound) {
      fields.Fail(fmt::format("the shape of tensor '{}' is unsound", tensor.name));
      return tensor;
    }
    tensor.shape.push_back(dim.get<int64_t>());
  }
  if (version != kVersionWhole && fields.Has("candidates")) {
    tensor.candidates = fields.Unsigned<int64_t>("candidates", std::min<uint64_t>(elements, INT32_MAX));
    const auto [rows, cols] = Matrix(tensor.shape);
    if (rows > kMostRows || cols > kMostRows) {
      fields.Fail(fmt::format("tensor '{}' is too large to have candidates", tensor.name));
    }
  }
  ParseStorage(fields, tensor);
  tensor.kept = fields.Unsigned<int64_t>("kept", tensor.candidates > 0 ? tensor.candidates : elements);
  if (tensor.mask == MaskStorage::kNone && static_cast<uint64_t>(tensor.kept) != elements) {
    fields.Fail(
        fmt::format("tensor '{}' has no selection, yet keeps {} of {} entries", tensor.name, tensor.kept, elements));
  }
  return tensor;
}

void ParseTextsAndExtras(Fields& fields, Manifest& manifest) {
  for (const auto& [key, value] : fields.Object("texts").items()) {
    if (!value.is_string()) return fields.Fail(fmt::format("text '{}' is not text", key));
    manifest.texts[key] = value.get<std::string>();
  }
  for (const auto& [key, value] : fields.Object("extras").items()) {
    const std::string digits = value.is_string() ? value.get<std::string>() : "";
    uint64_t bits = 0;
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), bits, 16);
    if (digits.size() != 16 || code != std::errc() || end != digits.data() + 16) {
      return fields.Fail(fmt::format("extra '{}' is not the bits of a double in hex", key));
    }
    manifest.extras[key] = std::bit_cast<double>(bits);
  }
}

// As versions 1 and 2 have them: one file of weights, perhaps one of moments.
bool OneFileEach(const Manifest& manifest) {
  const auto count = [&](const char* role) {
    return std::count_if(manifest.files.begin(), manifest.files.end(),
                         [&](const ManifestFile& file) { return file.role == role; });
  };
  const int64_t weights = count("weights"), moments = count("moments");
  return weights <= 1 && moments <= 1 && weights + moments == std::ssize(manifest.files);
}

// weights, moments, or own-N as OwnRole writes it.
bool KnownRole(const std::string& role) { return role == "weights" || role == "moments" || RankOfOwnRole(role) >= 0; }

absl::StatusOr<Manifest> FromJson(const json& root, const std::string& path) {
  std::string error;
  Fields fields(root, error);
  if (fields.Text("format") != kFormat) fields.Fail("it is not the manifest of a checkpoint");
  const auto version = fields.Unsigned<int>("version", INT32_MAX);
  if (error.empty() && (version < kVersionWhole || version > kVersion)) {
    return absl::FailedPreconditionError(
        fmt::format("{}: it has version {} of the format, this program reads versions {} to {}", path, version,
                    kVersionWhole, kVersion));
  }
  Manifest manifest;
  manifest.step = fields.Unsigned<int64_t>("step", INT64_MAX);
  manifest.position = fields.Unsigned<int64_t>("position", INT64_MAX);
  manifest.seed = fields.Unsigned<uint64_t>("seed", UINT64_MAX);
  for (const json& value : fields.Array("files")) manifest.files.push_back(ParseFile(value, error));
  for (const json& value : fields.Array("tensors")) manifest.tensors.push_back(ParseTensor(value, version, error));
  for (size_t i = 1; i < manifest.tensors.size(); ++i) {
    if (manifest.tensors[i - 1].name >= manifest.tensors[i].name) fields.Fail("its tensors are not in order of name");
  }
  ParseTextsAndExtras(fields, manifest);
  for (const ManifestFile& file : manifest.files) {
    if (!KnownRole(file.role)) fields.Fail("a file has a role that this program does not know");
  }
  if (version < kVersion && !OneFileEach(manifest)) fields.Fail("it names several files of one kind");
  if (!error.empty()) return Broken(path, error);
  return manifest;
}

}  // namespace

std::vector<const ManifestFile*> Manifest::Files(const std::string& role) const {
  std::vector<const ManifestFile*> found;
  for (const ManifestFile& file : files) {
    if (file.role == role) found.push_back(&file);
  }
  return found;
}

std::string OwnRole(int rank) { return fmt::format("own-{}", rank); }

int RankOfOwnRole(const std::string& role) {
  constexpr size_t kPrefix = 4;
  int rank = -1;
  if (role.size() <= kPrefix) return -1;
  const auto [end, code] = std::from_chars(role.data() + kPrefix, role.data() + role.size(), rank);
  return code == std::errc() && rank >= 0 && OwnRole(rank) == role ? rank : -1;
}

bool SoundName(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return !name.empty() && name.size() <= 64 && name[0] != '.' && std::all_of(name.begin(), name.end(), allowed);
}

RowsAndCols Matrix(const Shape& shape) {
  if (shape.empty()) return {};
  return {Elements(Shape(shape.begin(), shape.end() - 1)), shape.back()};
}

absl::StatusOr<std::string> EncodeManifest(const Manifest& manifest) {
  json files = json::array(), tensors = json::array(), extras = json::object();
  for (const ManifestFile& file : manifest.files) {
    files.push_back({{"role", file.role}, {"name", file.name}, {"bytes", file.bytes}, {"xxh3_128", file.xxh3_128}});
  }
  for (const ManifestTensor& tensor : manifest.tensors) tensors.push_back(TensorJson(tensor));
  for (const auto& [key, value] : manifest.extras) extras[key] = fmt::format("{:016x}", std::bit_cast<uint64_t>(value));
  const bool whole = std::all_of(manifest.tensors.begin(), manifest.tensors.end(),
                                 [](const ManifestTensor& tensor) { return tensor.candidates == 0; });
  const int version = !OneFileEach(manifest) ? kVersion : whole ? kVersionWhole : kVersionCandidates;
  const json root = {
      {"format", kFormat},     {"version", version}, {"step", manifest.step}, {"position", manifest.position},
      {"seed", manifest.seed}, {"files", files},     {"tensors", tensors},    {"texts", manifest.texts},
      {"extras", extras}};
  std::string text;
  try {
    text = root.dump(1);
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(fmt::format("texts of a checkpoint must be UTF-8: {}", error.what()));
  }
  text.resize(text.size() - 2);  // the closing "\n}", which comes after the hash
  text += kBeforeHash;
  return text + Xxh3Hex(text) + kAfterHash;
}

absl::StatusOr<Manifest> ParseManifest(const std::string& bytes, const std::string& path) {
  auto body = CheckedBody(bytes, path);
  if (!body.ok()) return body.status();
  const json root = json::parse(*body, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return Broken(path, "it is not JSON");
  return FromJson(root, path);
}

}  // namespace filigree::checkpoint
