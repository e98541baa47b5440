#include <fmt/format.h>

#include <iterator>

#include "coordinator/tables/tables.h"

namespace filigree::coordinator {
namespace {

using Out = std::back_insert_iterator<std::string>;

void Add(Out out, const WorkerRow& row) {
  fmt::format_to(out, "worker {} host {} slots {} incarnation {} nonce {} presence {} draining {}\n", row.name,
                 row.host, row.slots, row.incarnation, row.nonce, static_cast<int>(row.presence), row.draining);
}

void Add(Out out, const CommitPoint& point) {
  fmt::format_to(out, "generation {} step {} digest {}", point.generation, point.step, point.digest);
}

void Add(Out out, const JobRow& row) {
  fmt::format_to(out, "job {} number {} state {} intent {} generation {} data {} held {} ran {} rollback {}", row.id,
                 row.number, Name(row.state), Name(row.intent), row.generation, row.data, row.held, row.ran,
                 row.rollback);
  fmt::format_to(out, " restarts {} fruitless {} reached {} submitted {} started {} ended {}\n", row.restarts,
                 row.fruitless, row.reached_step, row.submitted_us, row.started_us, row.ended_us);
  fmt::format_to(out, "  reason {}\n  spec {}\n  ranks", row.reason, row.spec ? EncodeJobSpec(*row.spec) : "none");
  for (const RankPlace& place : row.ranks) fmt::format_to(out, " {}/{}", place.worker, place.incarnation);
  fmt::format_to(out, "\n");
  if (!row.resume) return;
  fmt::format_to(out, "  resume ");
  Add(out, *row.resume);
  fmt::format_to(out, "\n");
}

}  // namespace

std::string Dump(const Tables& tables) {
  std::string text;
  const Out out = std::back_inserter(text);
  fmt::format_to(out, "epoch {} next number {}\n", tables.epoch(), tables.next_number());
  for (const auto& [name, row] : tables.workers()) Add(out, row);
  for (const auto& [id, row] : tables.jobs()) {
    Add(out, row);
    const CommitRow* commit = tables.LastCommit(id);
    if (commit == nullptr) continue;
    fmt::format_to(out, "  commit at {} ", commit->wall_us);
    Add(out, commit->point);
    fmt::format_to(out, "\n");
  }
  return text;
}

}  // namespace filigree::coordinator
