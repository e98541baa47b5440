#include "worker/plan/plan_text.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "fmt/format.h"

namespace filigree::plan {
namespace {

using nlohmann::ordered_json;
using Row = std::vector<std::string>;

std::string Bytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  int unit = 0;
  for (; value >= 1000 && unit < 4; ++unit) value /= 1000;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.4g} {}", value, kUnits[unit]);
}

// Columns as wide as they need to be, the first to the left, the others to the right.
std::string Table(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (const Row& row : rows) {
    text += fmt::format("  {:<{}}", row[0], widths[0]);
    for (size_t c = 1; c < row.size(); ++c) text += fmt::format("  {:>{}}", row[c], widths[c]);
    text += '\n';
  }
  return text;
}

std::string Range(int64_t begin, int64_t count) {
  return count == 1 ? fmt::format("{}", begin) : fmt::format("{}-{}", begin, begin + count - 1);
}

std::string Placement(const RunPlan& plan) {
  std::vector<Row> rows = {{"rank", "host", "slot", "data", "tensor", "shards", "sequences", "model groups"}};
  for (const RankPlan& r : plan.ranks) {
    rows.push_back({std::to_string(r.rank), std::to_string(r.host), std::to_string(r.slot), std::to_string(r.data_rank),
                    std::to_string(r.tensor_rank), Range(r.leaves.begin, r.leaves.size()), std::to_string(r.sequences),
                    Range(r.first_group, r.groups)});
  }
  return Table(rows);
}

// Name and bytes of each part; the last two are sums.
std::vector<std::pair<const char*, int64_t>> PartsOf(const train::RunMemory& memory) {
  return {{"weights and moments", memory.state},
          {"gradients", memory.gradients},
          {"activations", memory.activations},
          {"candidate sets", memory.sets},
          {"masks", memory.masks},
          {"scratch", memory.scratch},
          {"copies", memory.copies},
          {"messages", memory.passed + memory.messages},
          {"refresh", memory.refresh},
          {"evaluation", memory.evaluation},
          {"steady", memory.steady()},
          {"peak", memory.total()}};
}

// Lines that begin with the rank: rows(rank) without it. Ranks next to each other with the same lines share them.
template <typename Rows>
std::string TableOfRanks(const RunPlan& plan, const Row& head, Rows rows) {
  std::vector<Row> table = {head};
  table.front().insert(table.front().begin(), "rank");
  for (size_t first = 0, next = 0; first < plan.ranks.size(); first = next) {
    const std::vector<Row> lines = rows(plan.ranks[first]);
    for (next = first + 1; next < plan.ranks.size() && rows(plan.ranks[next]) == lines;) ++next;
    std::string label = Range(static_cast<int64_t>(first), static_cast<int64_t>(next - first));
    for (Row line : lines) {
      line.insert(line.begin(), std::exchange(label, ""));
      table.push_back(std::move(line));
    }
  }
  return Table(table);
}

std::string Memory(const RunPlan& plan) {
  Row head;
  for (const auto& [name, bytes] : PartsOf(plan.ranks.front().memory)) head.emplace_back(name);
  return TableOfRanks(plan, head, [](const RankPlan& rank) {
    Row row;
    for (const auto& [name, bytes] : PartsOf(rank.memory)) row.push_back(Bytes(bytes));
    return std::vector<Row>{row};
  });
}

const char* NameOf(exchange::Accuracy accuracy) {
  switch (accuracy) {
    case exchange::Accuracy::kExact:
      return "exact";
    case exchange::Accuracy::kAtMost:
      return "at most";
    case exchange::Accuracy::kAbout:
      return "about";
  }
  return "";
}

std::string NameOf(const TrafficPart& part) {
  std::string name = part.name;
  if (part.accuracy != exchange::Accuracy::kExact) name += fmt::format(" ({})", NameOf(part.accuracy));
  return part.every == 1 ? name : fmt::format("{} (every {} steps)", name, part.every);
}

std::string TrafficTable(const RunPlan& plan) {
  return TableOfRanks(plan, {"of what", "sent", "received"}, [](const RankPlan& rank) {
    std::vector<Row> rows;
    const auto add = [&](const std::string& name, const comm::Traffic& traffic) {
      rows.push_back({name, Bytes(traffic.sent_bytes), Bytes(traffic.received_bytes)});
    };
    for (const TrafficPart& part : rank.traffic) add(NameOf(part), part.traffic);
    add("wire_bytes of a step", TrafficOfStep(rank.traffic, /*refresh=*/false));
    return rows;
  });
}

ordered_json MemoryJson(const train::RunMemory& memory) {
  return {{"step", memory.step},
          {"weights_and_moments", memory.state},
          {"gradients", memory.gradients},
          {"activations", memory.activations},
          {"evaluation", memory.evaluation},
          {"candidate_sets", memory.sets},
          {"masks", memory.masks},
          {"scratch", memory.scratch},
          {"copies", memory.copies},
          {"messages", memory.passed + memory.messages},
          {"refresh", memory.refresh},
          {"evaluation", memory.evaluation},
          {"steady", memory.steady()},
          {"peak", memory.total()}};
}

ordered_json TrafficJson(const comm::Traffic& traffic) {
  return {{"sent", traffic.sent_bytes}, {"received", traffic.received_bytes}};
}

ordered_json RankJson(const RankPlan& r) {
  ordered_json parts = ordered_json::array();
  for (const TrafficPart& part : r.traffic) {
    ordered_json json = {{"name", part.name}};
    json.update(TrafficJson(part.traffic));
    json["every"] = part.every;
    json["accuracy"] = NameOf(part.accuracy);
    parts.push_back(std::move(json));
  }
  return {{"rank", r.rank},
          {"host", r.host},
          {"slot", r.slot},
          {"data_rank", r.data_rank},
          {"tensor_rank", r.tensor_rank},
          {"shards", {r.leaves.begin, r.leaves.end}},
          {"sequences", r.sequences},
          {"model_groups", {r.first_group, r.first_group + r.groups}},
          {"memory", MemoryJson(r.memory)},
          {"traffic", std::move(parts)},
          {"wire_bytes", TrafficJson(TrafficOfStep(r.traffic, /*refresh=*/false))},
          {"wire_bytes_of_refresh", TrafficJson(TrafficOfStep(r.traffic, /*refresh=*/true))}};
}

}  // namespace

std::string Text(const RunPlan& plan) {
  std::string text = fmt::format("{} rank{} ({} data x {} tensor), at most {} a host; {:.3f} M values exist\n\n",
                                 plan.grid.size(), plan.grid.size() == 1 ? "" : "s", plan.grid.data, plan.grid.tensor,
                                 plan.ranks_per_host, static_cast<double>(plan.elements) / 1e6);
  text += "Who sits where and computes what\n" + Placement(plan);
  text +=
      fmt::format("\nMemory of each, at step {}, which needs the most (masks: their bits, and compressed matrices)\n{}",
                  plan.ranks.front().memory.step, Memory(plan));
  if (plan.grid.size() > 1) {
    text += fmt::format("\nTraffic of each in a step{}\n{}",
                        plan.even_share ? " (shares of candidates taken as even)" : "", TrafficTable(plan));
    if (plan.grid.data > 1) {
      text += fmt::format("  an fp32 all-reduce of the dense gradient would send {} a rank\n",
                          Bytes(plan.dense_equivalent));
    }
  }
  text += plan.fits.ok() ? fmt::format("\nIt fits: a host has {} of memory.\n", Bytes(plan.available))
                         : fmt::format("\nIt does not fit: {}\n", std::string(plan.fits.message()));
  return text;
}

ordered_json Json(const RunPlan& plan) {
  ordered_json ranks = ordered_json::array();
  for (const RankPlan& rank : plan.ranks) ranks.push_back(RankJson(rank));
  return {{"data", plan.grid.data},
          {"tensor", plan.grid.tensor},
          {"ranks_per_host", plan.ranks_per_host},
          {"elements", plan.elements},
          {"dense_equivalent", plan.dense_equivalent},
          {"even_share", plan.even_share},
          {"host_memory", plan.available},
          {"fits", plan.fits.ok()},
          {"why_not", std::string(plan.fits.message())},
          {"ranks", std::move(ranks)}};
}

}  // namespace filigree::plan
