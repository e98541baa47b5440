#ifndef FILIGREE_COORDINATOR_CORE_PLACEMENT_H_
#define FILIGREE_COORDINATOR_CORE_PLACEMENT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coordinator/tables/rows.h"

// Which worker gets which rank. A tensor group (the ranks of one data index) stays on one host; among the hosts those
// that the job was on before come first, then as few as possible: the host that holds all that is missing with the
// least to spare, else the one that holds most. Where ranks are started together, all of them are on one worker, which
// is chosen likewise.

namespace filigree::coordinator {

struct WorkerRoom {
  std::string worker;
  int64_t incarnation = 0;
  int32_t slots = 0;  // that can be taken
};
using Rooms = std::map<std::string, std::vector<WorkerRoom>>;  // by host; workers by name

enum class Spread : uint8_t { kHosts, kOneWorker };

// How many tensor groups fit, at most `most`.
int32_t GroupsThatFit(const Rooms& rooms, int32_t tensor, int32_t most, Spread spread = Spread::kHosts);

// Places of data x tensor ranks; they must fit (CHECK). `before`: the ranks of the generation before, or none.
std::vector<RankPlace> PlaceRanks(const Rooms& rooms, int32_t data, int32_t tensor,
                                  const std::vector<RankPlace>& before, Spread spread = Spread::kHosts);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_PLACEMENT_H_
