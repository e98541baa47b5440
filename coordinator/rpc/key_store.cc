#include "coordinator/rpc/key_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "proto/contract/ids.h"

namespace filigree::coordinator {

absl::Status CheckLive(const Tables& tables, const Speaker& speaker) {
  const WorkerRow* row = tables.FindWorker(speaker.worker);
  if (row == nullptr)
    return absl::NotFoundError(fmt::format("worker {} is not known here; register it first", speaker.worker));
  if (row->incarnation == speaker.incarnation && row->presence == Presence::kLive) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("incarnation {} of worker {} is over and is refused for ever; stop its ranks and register again",
                  speaker.incarnation, speaker.worker));
}

namespace {

// Whether ranks of that generation may still find together.
bool Open(const JobRow& row) { return row.held && row.state != JobState::kRecovering; }

absl::Status EndedStatus(const std::string& job, int64_t generation) {
  return absl::FailedPreconditionError(
      fmt::format("generation {} of job {} has ended, and its keys with it; its ranks must stop", generation, job));
}

}  // namespace

absl::StatusOr<KeyStore::Generation*> KeyStore::Enter(const Tables& tables, const GenerationKey& key) {
  if (absl::Status status = CheckLive(tables, key.speaker); !status.ok()) return status;
  const JobRow* row = tables.FindJob(key.job);
  if (row == nullptr) return absl::NotFoundError(fmt::format("job {} is not known here", key.job));
  if (row->generation != key.generation || !Open(*row))
    return absl::FailedPreconditionError(fmt::format("keys of generation {} of job {}: the job is {} at generation {}",
                                                     key.generation, key.job, Name(row->state), row->generation));
  Generation& generation = generations_[key.job];
  if (generation.number != row->generation) {
    generation.number = row->generation;
    for (const RankPlace& place : row->ranks) generation.members[place.worker] = place.incarnation;
  }
  const auto member = generation.members.find(key.speaker.worker);
  if (member == generation.members.end() || member->second != key.speaker.incarnation)
    return absl::PermissionDeniedError(
        fmt::format("worker {} has no rank of generation {} of job {}", key.speaker.worker, key.generation, key.job));
  return &generation;
}

absl::Status KeyStore::Set(const Tables& tables, const SetKeyQuery& query) {
  const auto entered = Enter(tables, query.key);
  if (!entered.ok()) return entered.status();
  Generation& generation = **entered;
  const auto known = generation.values.find(query.key.key);
  if (known != generation.values.end()) {
    if (known->second == query.value) return absl::OkStatus();
    return absl::AlreadyExistsError(fmt::format("key {} of generation {} of job {} is set to another value",
                                                contract::Shown(query.key.key), query.key.generation, query.key.job));
  }
  const size_t bytes = query.key.key.size() + query.value.size();
  if (generation.bytes + bytes > limits_.generation_bytes || bytes_ + bytes > limits_.store_bytes)
    return absl::ResourceExhaustedError(
        fmt::format("key {} of job {}: its generation keeps {} bytes and all of them {}; at most {} and {} are kept",
                    contract::Shown(query.key.key), query.key.job, generation.bytes, bytes_, limits_.generation_bytes,
                    limits_.store_bytes));
  generation.bytes += bytes;
  bytes_ += bytes;
  generation.values[query.key.key] = query.value;
  const auto waiting = generation.waiters.extract(query.key.key);
  if (waiting.empty()) return absl::OkStatus();
  waiting_ -= waiting.mapped().size();
  // Every answer is a copy of the value until it has been sent.
  size_t left = limits_.answer_bytes;
  for (const Waiter& waiter : waiting.mapped()) {
    const bool fits = query.value.size() <= left;
    if (fits) left -= query.value.size();
    if (fits)
      waiter.answer(query.value);
    else
      waiter.answer(absl::ResourceExhaustedError(
          fmt::format("key {} of job {} is set, and too many waited for it to be told at once; ask again",
                      contract::Shown(query.key.key), query.key.job)));
  }
  return absl::OkStatus();
}

void KeyStore::Get(const Tables& tables, const GetKeyQuery& query, int64_t now_us, Answer answer) {
  const auto entered = Enter(tables, query.key);
  if (!entered.ok()) return answer(entered.status());
  Generation& generation = **entered;
  const auto known = generation.values.find(query.key.key);
  if (known != generation.values.end()) return answer(known->second);
  if (waiting_ >= limits_.key_waiters)
    return answer(absl::ResourceExhaustedError(fmt::format("{} calls wait for keys; try again", waiting_)));
  ++waiting_;
  generation.waiters[query.key.key].push_back({now_us + query.wait_us, std::move(answer)});
  if (query.wait_us == 0) Expire(now_us);
}

void KeyStore::Drop(std::map<std::string, Generation>::iterator at, const absl::Status& status) {
  const Generation generation = std::move(at->second);
  generations_.erase(at);
  bytes_ -= generation.bytes;
  for (const auto& [key, waiters] : generation.waiters) {
    waiting_ -= waiters.size();
    for (const Waiter& waiter : waiters) waiter.answer(status);
  }
}

void KeyStore::Follow(const Changes& rows) {
  for (const JobRow& row : rows.jobs) {
    const auto at = generations_.find(row.id);
    if (at == generations_.end()) continue;
    if (at->second.number != row.generation || !Open(row)) Drop(at, EndedStatus(row.id, at->second.number));
  }
}

void KeyStore::Expire(int64_t now_us) {
  if (waiting_ == 0) return;
  std::vector<std::pair<std::string, Answer>> over;
  for (auto& [job, generation] : generations_)
    for (auto at = generation.waiters.begin(); at != generation.waiters.end();) {
      std::vector<Waiter>& waiters = at->second;
      const auto late = std::stable_partition(waiters.begin(), waiters.end(),
                                              [&](const Waiter& waiter) { return waiter.until_us > now_us; });
      for (auto waiter = late; waiter != waiters.end(); ++waiter)
        over.emplace_back(
            fmt::format("key {} of generation {} of job {}", contract::Shown(at->first), generation.number, job),
            std::move(waiter->answer));
      waiters.erase(late, waiters.end());
      at = waiters.empty() ? generation.waiters.erase(at) : std::next(at);
    }
  waiting_ -= over.size();
  for (const auto& [what, answer] : over)
    answer(absl::DeadlineExceededError(fmt::format("{}: nobody has set it within the time that was asked", what)));
}

void KeyStore::Close(const absl::Status& status) {
  while (!generations_.empty()) Drop(generations_.begin(), status);
}

}  // namespace filigree::coordinator
