#include "coordinator/core/leases.h"

#include "kernels/base/check.h"

namespace filigree::coordinator {

void Leases::Grant(const std::string& worker, int64_t until_us) {
  End(worker);
  leases_[worker] = {until_us, 0};
  ends_.insert({until_us, worker});
}

void Leases::Renew(const std::string& worker, int64_t until_us) {
  const auto found = leases_.find(worker);
  CHECK(found != leases_.end(), "no lease of {}", worker);
  Lease& lease = found->second;
  if (until_us <= lease.until_us) return;
  ends_.erase({lease.until_us, worker});
  lease.until_us = until_us;
  ends_.insert({until_us, worker});
}

void Leases::Hear(const std::string& worker, int64_t sequence) {
  const auto found = leases_.find(worker);
  CHECK(found != leases_.end() && sequence > found->second.last_sequence, "{} spoke out of order", worker);
  found->second.last_sequence = sequence;
}

void Leases::End(const std::string& worker) {
  const auto found = leases_.find(worker);
  if (found == leases_.end()) return;
  ends_.erase({found->second.until_us, worker});
  leases_.erase(found);
}

const Lease* Leases::Find(const std::string& worker) const {
  const auto found = leases_.find(worker);
  return found == leases_.end() ? nullptr : &found->second;
}

std::vector<std::string> Leases::Expired(int64_t now_us) const {
  std::vector<std::string> workers;
  for (const auto& [until_us, worker] : ends_) {
    if (until_us > now_us) break;
    workers.push_back(worker);
  }
  return workers;
}

}  // namespace filigree::coordinator
