#include "worker/telemetry/parse_record.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace filigree::telemetry {
namespace {

using Json = nlohmann::ordered_json;

// Our records are three deep (snapshot, matrices, magnitudes); what lies deeper is left out.
constexpr int kDeepest = 4;

// Members of an object; what is missing or of another type reads as NaN, 0 or empty.
class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}

  const Json* Find(const char* key) const {
    if (!json_.is_object()) return nullptr;
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }
  double Real(const char* key) const { return Real(Find(key)); }
  int64_t Count(const char* key) const { return Count(Find(key)); }
  std::string Text(const char* key) const {
    const Json* value = Find(key);
    return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
  }
  std::vector<NamedValue> Values(const char* key) const {
    std::vector<NamedValue> values;
    if (const Json* object = Find(key); object != nullptr && object->is_object())
      for (const auto& [name, value] : object->items()) values.push_back({name, Real(&value)});
    return values;
  }
  std::vector<NamedCount> Counts(const char* key) const {
    std::vector<NamedCount> counts;
    if (const Json* object = Find(key); object != nullptr && object->is_object())
      for (const auto& [name, value] : object->items()) counts.push_back({name, Count(&value)});
    return counts;
  }
  std::vector<NamedText> Texts(const char* key) const {
    std::vector<NamedText> texts;
    if (const Json* object = Find(key); object != nullptr && object->is_object())
      for (const auto& [name, value] : object->items())
        if (value.is_string()) texts.push_back({name, value.get<std::string>()});
    return texts;
  }

  static double Real(const Json* value) {
    return value != nullptr && value->is_number() ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
  }
  static int64_t Count(const Json* value) {
    if (value == nullptr || !value->is_number()) return 0;
    if (value->is_number_integer() && !value->is_number_unsigned()) return value->get<int64_t>();
    const auto real = value->get<double>();
    return std::abs(real) < 9.2e18 ? value->get<int64_t>() : 0;
  }

 private:
  const Json& json_;
};

RunRecord Run(const Reader& r) {
  RunRecord record;
  record.steps = r.Count("steps");
  record.tokens_per_step = r.Count("tokens_per_step");
  record.started = r.Real("started");
  record.name = r.Text("name");
  record.baselines = r.Values("baselines");
  record.facts = r.Texts("facts");
  return record;
}

StepRecord Step(const Reader& r) {
  StepRecord record;
  record.loss = r.Real("loss");
  record.z_score = r.Real("z_score");
  record.lr = r.Real("lr");
  record.density = r.Real("density");
  record.embedding_density = r.Real("embedding_density");
  record.gradient_norm = r.Real("gradient_norm");
  record.gradient_rms = r.Real("gradient_rms");
  record.ms = r.Real("ms");
  record.tokens_per_second = r.Real("tokens_per_second");
  record.percent_of_peak = r.Real("percent_of_peak");
  record.bits_per_byte = r.Real("bits_per_byte");
  record.epochs = r.Real("epochs");
  record.phase_seconds.fill(std::numeric_limits<double>::quiet_NaN());
  if (const Json* phases = r.Find("phase_seconds"))
    for (int i = 0; i < kPhases; ++i) record.phase_seconds[i] = Reader(*phases).Real(kPhaseNames[i]);
  if (const Json* wire = r.Find("wire_bytes")) {
    const Reader bytes(*wire);
    record.wire = {bytes.Count("sent"), bytes.Count("received"), bytes.Count("dense_equivalent")};
  }
  record.nnz = r.Counts("nnz");
  return record;
}

EvalRecord Eval(const Reader& r) {
  return {0, r.Real("loss"), r.Real("bits_per_byte"), r.Count("tokens"), r.Real("seconds"), r.Values("baselines")};
}

SnapshotRecord Snapshot(const Reader& r) {
  SnapshotRecord record;
  const Json* matrices = r.Find("matrices");
  if (matrices == nullptr || !matrices->is_array()) return record;
  for (const Json& json : *matrices) {
    const Reader m(json);
    MatrixSnapshot matrix{m.Text("name"),
                          m.Find("layer") != nullptr ? m.Count("layer") : -1,
                          m.Text("kind"),
                          m.Count("numel"),
                          m.Count("nnz"),
                          m.Count("units"),
                          m.Count("alive_units"),
                          m.Real("threshold"),
                          {}};
    if (const Json* bins = m.Find("magnitudes"); bins != nullptr && bins->is_array())
      for (size_t i = 0; i < std::min(bins->size(), matrix.magnitudes.size()); ++i)
        matrix.magnitudes[i] = Reader::Count(&(*bins)[i]);
    record.matrices.push_back(std::move(matrix));
  }
  return record;
}

// False where the kind is not ours.
bool OfKind(const std::string& kind, const Reader& r, Record& record) {
  if (kind == "run")
    record = Run(r);
  else if (kind == "step")
    record = Step(r);
  else if (kind == "eval")
    record = Eval(r);
  else if (kind == "sample")
    record = SampleRecord{0, r.Text("prompt"), r.Text("text")};
  else if (kind == "checkpoint")
    record = CheckpointRecord{0, r.Real("seconds"), r.Count("bytes"), r.Text("path")};
  else if (kind == "snapshot")
    record = Snapshot(r);
  else if (kind == "note")
    record = NoteRecord{0, r.Text("text")};
  else if (kind == "end")
    record = EndRecord{0, r.Real("seconds"), r.Text("reason")};
  else
    return false;
  return true;
}

}  // namespace

LineKind ReadLine(const std::string& line, Record& record, int64_t& step) {
  const auto shallow = [](int depth, Json::parse_event_t, Json&) { return depth <= kDeepest; };
  const Json json = Json::parse(line, shallow, false);
  if (!json.is_object()) return LineKind::kDamaged;
  const Reader reader(json);
  const Json* number = reader.Find("step");
  const std::string kind = reader.Text("kind");
  if (kind.empty() || number == nullptr || !number->is_number_integer()) return LineKind::kDamaged;
  step = reader.Count("step");
  if (step < 0) return LineKind::kDamaged;
  if (!OfKind(kind, reader, record)) return LineKind::kUnknown;
  std::visit([&](auto& r) { r.step = step; }, record);
  return LineKind::kRecord;
}

bool ParseRecord(const std::string& line, Record& record) {
  int64_t step = 0;
  return ReadLine(line, record, step) == LineKind::kRecord;
}

}  // namespace filigree::telemetry
