#ifndef FILIGREE_WORKER_AGENT_COMPLAINT_H_
#define FILIGREE_WORKER_AGENT_COMPLAINT_H_

#include <cstdint>
#include <utility>

namespace filigree::agent {

// When to say that something goes wrong which happens again and again: the first time, then once a minute at most, and
// when it is over. Threads: one at a time.
class Complaint {
 public:
  static constexpr int64_t kEveryUs = 60'000'000;

  // It has happened. True: it is to be said.
  bool Again(int64_t now_us) {
    const bool said = goes_on_ && now_us - said_us_ < kEveryUs;
    goes_on_ = true;
    if (!said) said_us_ = now_us;
    return !said;
  }
  // It does not happen any more. True: it did, and that is to be said.
  bool Over() { return std::exchange(goes_on_, false); }

 private:
  bool goes_on_ = false;
  int64_t said_us_ = 0;
};

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_COMPLAINT_H_
