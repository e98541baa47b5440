#ifndef FILIGREE_COORDINATOR_CORE_LEASES_H_
#define FILIGREE_COORDINATOR_CORE_LEASES_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

// Until when a worker counts as there, on the monotonic clock. Lost with the process: a new one grants every live
// worker a whole lease, so it never takes one for lost earlier than the process before it would have.

namespace filigree::coordinator {

struct Lease {
  int64_t until_us = 0;
  int64_t last_sequence = 0;  // of its heartbeats to this process; 0: none yet
};

class Leases {
 public:
  // A new incarnation begins, or one is taken over from the journal.
  void Grant(const std::string& worker, int64_t until_us);

  // A lease never gets shorter. The worker must hold one.
  void Renew(const std::string& worker, int64_t until_us);

  // The worker was heard; sequences ascend.
  void Hear(const std::string& worker, int64_t sequence);

  void End(const std::string& worker);  // no-op where there is none

  const Lease* Find(const std::string& worker) const;  // null: none

  // Holders whose time is over, by end and name. O(their number).
  std::vector<std::string> Expired(int64_t now_us) const;

 private:
  std::map<std::string, Lease> leases_;
  std::set<std::pair<int64_t, std::string>> ends_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_LEASES_H_
