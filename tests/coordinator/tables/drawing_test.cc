#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <string>
#include <utility>

#include "coordinator/tables/job_state.h"

namespace filigree::coordinator {
namespace {

using Moves = std::set<std::pair<std::string, std::string>>;

// The arrows of docs/coordinator.md, "    from --> to : why".
Moves Drawn() {
  std::ifstream page(FILIGREE_COORDINATOR_PAGE);
  EXPECT_TRUE(page.good()) << FILIGREE_COORDINATOR_PAGE;
  Moves moves;
  const std::string arrow = " --> ";
  for (std::string line; std::getline(page, line);) {
    const size_t at = line.find(arrow);
    if (at == std::string::npos) continue;
    const size_t begin = line.find_first_not_of(' '), end = line.find(' ', at + arrow.size());
    const std::string to = line.substr(at + arrow.size(), end == std::string::npos ? end : end - at - arrow.size());
    EXPECT_TRUE(moves.insert({line.substr(begin, at - begin), to}).second) << "drawn twice: " << line;
  }
  return moves;
}

TEST(Drawing, OfTheStatesOfAJobIsWhatTheCodeAllows) {
  Moves allowed = {{"[*]", Name(JobState::kSubmitted)}};
  for (int from = 0; from < kJobStates; ++from) {
    const auto state = static_cast<JobState>(from);
    if (Ended(state)) allowed.insert({Name(state), "[*]"});
    for (int to = 0; to < kJobStates; ++to)
      if (CanMove(state, static_cast<JobState>(to))) allowed.insert({Name(state), Name(static_cast<JobState>(to))});
  }
  EXPECT_EQ(Drawn(), allowed);
}

}  // namespace
}  // namespace filigree::coordinator
