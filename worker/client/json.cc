#include "worker/client/json.h"

#include <string>
#include <utility>

#include "worker/client/names.h"

namespace filigree::client {
namespace {

using Json = nlohmann::ordered_json;

Json JsonOfPhases(const v1::PhaseSeconds& phases) {
  return {{"data", phases.data()},         {"forward", phases.forward()},      {"backward", phases.backward()},
          {"compress", phases.compress()}, {"exchange", phases.exchange()},    {"optimizer", phases.optimizer()},
          {"topk", phases.topk()},         {"checkpoint", phases.checkpoint()}};
}

Json JsonOfRanks(const v1::Job& job) {
  Json ranks = Json::array();
  for (const v1::RankView& rank : job.ranks())
    ranks.push_back({{"rank", rank.rank()},
                     {"worker", rank.worker()},
                     {"state", NameOf(rank.state())},
                     {"step", rank.step()},
                     {"straggler", rank.straggler()},
                     {"reason", rank.reason()}});
  return ranks;
}

}  // namespace

Json JsonOf(const v1::Progress& progress) {
  Json slow = Json::array();
  for (const v1::SlowRank& rank : progress.slow())
    slow.push_back({{"rank", rank.rank()},
                    {"worker", rank.worker()},
                    {"ratio", rank.ratio()},
                    {"phase", NameOf(rank.phase())},
                    {"seconds", rank.seconds()},
                    {"median_seconds", rank.median_seconds()}});
  return {{"job", progress.job()},
          {"generation", progress.generation()},
          {"step", progress.step()},
          {"ranks_running", progress.ranks_running()},
          {"ranks", progress.ranks()},
          {"step_seconds", progress.step_seconds()},
          {"phases", JsonOfPhases(progress.phases())},
          {"slow", std::move(slow)},
          {"sent_bytes", progress.sent_bytes()},
          {"dense_equivalent_bytes", progress.dense_equivalent_bytes()},
          {"last_heard_ms", progress.last_heard_ms()}};
}

Json JsonOf(const v1::Job& job) {
  Json json = {{"id", job.id()},
               {"number", job.number()},
               {"name", job.spec().name()},
               {"state", NameOf(job.state())},
               {"reason", job.reason()},
               {"generation", job.generation()},
               {"data", job.data()},
               {"wanted_data", job.spec().data()},
               {"tensor", job.spec().tensor()},
               {"priority", job.spec().priority()},
               {"backend", NameOf(job.spec().backend())},
               {"held", job.held()},
               {"restarts", job.restarts()},
               {"fruitless", job.fruitless()},
               {"submitted_us", job.submitted_us()},
               {"started_us", job.started_us()},
               {"ended_us", job.ended_us()}};
  if (job.has_last_commit())
    json["last_commit"] = {{"generation", job.last_commit().generation()},
                           {"step", job.last_commit().step()},
                           {"digest", job.last_commit().digest()}};
  if (job.has_progress()) json["progress"] = JsonOf(job.progress());
  if (job.ranks_size() > 0) json["ranks"] = JsonOfRanks(job);
  if (const int64_t target = TargetSteps(job.spec()); !job.spec().config().empty() && target > 0)
    json["target_steps"] = target;
  return json;
}

Json JsonOf(const v1::Worker& worker) {
  return {{"name", worker.name()},
          {"host", worker.host()},
          {"slots", worker.slots()},
          {"used", worker.used()},
          {"presence", NameOf(worker.presence())},
          {"draining", worker.draining()},
          {"incarnation", worker.incarnation()}};
}

Json JsonOf(const v1::Event& event) {
  Json json = {{"event", NameOf(event.kind())}, {"wall_us", event.wall_us()},       {"job", event.job()},
               {"worker", event.worker()},      {"generation", event.generation()}, {"step", event.step()},
               {"text", event.text()}};
  if (event.has_rank()) json["rank"] = event.rank();
  if (event.kind() == v1::EVENT_KIND_JOB_MOVED) {
    json["from"] = NameOf(event.from());
    json["to"] = NameOf(event.to());
  }
  return json;
}

std::string LineOf(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace filigree::client
