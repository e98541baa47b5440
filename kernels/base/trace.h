#ifndef FILIGREE_KERNELS_BASE_TRACE_H_
#define FILIGREE_KERNELS_BASE_TRACE_H_

#include <atomic>
#include <cstdint>
#include <vector>

// Which kernel ran when, on which thread, and how much it did. Every public kernel holds one line:
//
//   const TraceSpan span("spmm", [&] { return TraceWork{.flops = 2.0 * nnz * 64, .bytes = ...}; });
//
// Off (as at the start of a program) a span costs one relaxed load; the lambda is not called. On, it costs two readings
// of two clocks (about a microsecond) and a store into a buffer of its own thread; the lambda is called when the kernel
// has returned, after the second reading, so that what it counts (bits of a mask, entries found) is in no one's time.
//
// Nesting        Spans of one thread may nest (a kernel that calls another): whoever sums times counts the outermost.
// Threads        A kernel that gives its work to a pool records one span, on the thread that called it, with
//                TraceWork::threads; the tasks inside record none.
//                StartTrace, StopTrace and TakeTrace are called while no kernel runs: after ThreadPool::Run has
//                returned nothing its threads recorded is lost, and no lock is taken by them but once a thread.
// Determinism    nothing that a kernel computes depends on it.

namespace filigree::kernels {

// Where most of the bytes of a kernel come from: how fast they could come at best.
enum class TraceLevel { kCache, kMemory };

struct TraceWork {
  double flops = 0;  // useful ones: 2 a multiply-add, what is known to be zero left out, transcendental functions too
  double bytes = 0;  // of operands: each read once, and written once where it is a result
  TraceLevel level = TraceLevel::kCache;
  int threads = 1;  // whose time the call takes
};

struct TraceEvent {
  const char* name = nullptr;  // static
  int64_t start_ns = 0, end_ns = 0;
  int64_t cpu_ns = 0;  // of these, the thread was on a core: what is left when other programs take their turn
  TraceWork work;
};

// What one thread recorded: a span stands where it ended, so after those that nest in it.
struct ThreadTrace {
  int thread = 0;  // from 0 in the order of the threads' first spans
  std::vector<TraceEvent> events;
};

// Records from now on, in addition to what is there.
void StartTrace();
void StopTrace();
// Hands out and forgets everything recorded.
std::vector<ThreadTrace> TakeTrace();
// Nanoseconds on the clock of the events, and that the calling thread has been on a core.
int64_t TraceNow();
int64_t TraceCpuNow();

namespace internal {
inline std::atomic<bool> tracing{false};
void RecordSpan(const TraceEvent& event);
}  // namespace internal

template <typename Work>
class [[nodiscard]] TraceSpan {
 public:
  // `name` is static; `work` returns the TraceWork of the call.
  TraceSpan(const char* name, Work work) : work_(work) {
    if (internal::tracing.load(std::memory_order_relaxed)) [[unlikely]] {
      name_ = name;
      start_ns_ = TraceNow();
      start_cpu_ns_ = TraceCpuNow();
    }
  }
  ~TraceSpan() {
    if (name_ == nullptr) [[likely]]
      return;
    const int64_t cpu_ns = TraceCpuNow() - start_cpu_ns_, end_ns = TraceNow();
    internal::RecordSpan({name_, start_ns_, end_ns, cpu_ns, work_()});
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  const char* name_ = nullptr;
  int64_t start_ns_ = 0, start_cpu_ns_ = 0;
  Work work_;
};

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_BASE_TRACE_H_
