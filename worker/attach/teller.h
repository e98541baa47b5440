#ifndef FILIGREE_WORKER_ATTACH_TELLER_H_
#define FILIGREE_WORKER_ATTACH_TELLER_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "worker/attach/agent_link.h"
#include "worker/metrics/rank_metrics.h"

// A thread that tells the agent several times a second how this rank gets on, and hears what it is to do. It tells of
// one generation at a time, from Begin to End, and is silent in between.
//
// The agent says how long its worker's lease has to run. From the first answer of a generation on this process ends
// with the lease as it was last heard of, also where the agent does not run any more (SIGSTOP) and so can end nobody:
// never later than the agent itself would, as what is left is counted from before it was asked. Without an answer, and
// with an agent that says nothing of a lease, `patience` counts alone.
//
// Threads: any may call.

namespace filigree::attach {

// A clock that goes on while the machine sleeps, as the agent's; microseconds.
int64_t BootTimeUs();

struct TellerOptions {
  milliseconds interval{250};
  milliseconds patience{5000};  // with an agent that does not answer
  // The agent is gone or its lease over, or it knows this process no more. Called on the teller's thread; is to end the
  // process.
  std::function<void(const std::string& why)> alone;
  std::function<int64_t()> now_us = BootTimeUs;  // for the lease
};

class Teller {
 public:
  // Borrows the link.
  Teller(AgentLink& link, TellerOptions options);
  ~Teller();
  Teller(const Teller&) = delete;
  Teller& operator=(const Teller&) = delete;

  // This process is a rank of that generation now, which is starting.
  void Begin(int64_t generation);
  // Where the rank's figures come from. `address`: where others reach its metrics, or empty. It runs as soon as the
  // metrics have heard of its start.
  void Show(std::shared_ptr<const metrics::RankMetrics> metrics, std::string address);
  // The rank has left the generation, or ends. What there is to tell is told once more first, within two seconds.
  void End();
  // The same of a rank that has failed.
  void Fail(const std::string& reason);

  // What the agent wants of this rank of this generation: the most that it has asked for.
  Order order() const;
  bool MustLeave() const { return order().directive == Directive::kLeave; }
  // The same after one more word and its answer, for which it waits a second at most.
  Order Ask();
  // Waits until that is more than going on, for so long at most.
  Order AwaitOrder(milliseconds most);
  // `leave` is called once when the generation is to be left at once, or now where that is known already: from any
  // thread, and never any more when this has returned with another one. It does not call the teller.
  void WhenToLeave(std::function<void()> leave);

 private:
  void Run();
  void TellOnce(std::unique_lock<std::mutex>& lock);
  // Is this process to end? `heard`: what the last Tell has brought.
  std::string WhyAlone(const absl::Status& heard) const;
  int64_t LeaseLeftUs() const;  // a day, where nothing is known of it
  v1::TellRequest Compose() const;
  void Hear(int64_t generation, const absl::StatusOr<Order>& heard);
  void TellLast(const std::string& failure);
  void CallLeave();

  AgentLink& link_;
  const TellerOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All guarded by mutex_.
  int64_t generation_ = 0;                 // 0: silent
  std::optional<int64_t> lease_until_us_;  // as it was last heard of in this generation
  std::shared_ptr<const metrics::RankMetrics> metrics_;
  std::string address_, failure_;
  Order order_;
  std::function<void()> leave_;
  int64_t asked_ = 0, answered_ = 0;  // calls of Ask
  bool hurry_ = false;                // something is new
  bool last_ = false;                 // one more time, then no more
  bool complained_ = false;           // about what the agent does not take
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace filigree::attach

#endif  // FILIGREE_WORKER_ATTACH_TELLER_H_
