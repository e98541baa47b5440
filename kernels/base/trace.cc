#include "kernels/base/trace.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <mutex>
#include <utility>

namespace filigree::kernels {
namespace {

// Enough for a few steps of a small model before a buffer moves.
constexpr size_t kFirstEvents = 1 << 12;

// The buffers of all threads that recorded anything. A thread shares its own with the registry, so that what it
// recorded outlives it.
struct Registry {
  std::mutex mutex;
  int threads = 0;                                    // guarded by mutex: numbers given out
  std::vector<std::shared_ptr<ThreadTrace>> buffers;  // guarded by mutex; the events by the threads' idleness
};

// Never destroyed: threads may end after main has.
Registry& TheRegistry() {
  static auto* registry = new Registry;
  return *registry;
}

ThreadTrace& BufferOfThisThread() {
  static thread_local std::shared_ptr<ThreadTrace> buffer;
  if (buffer == nullptr) {
    buffer = std::make_shared<ThreadTrace>();
    buffer->events.reserve(kFirstEvents);
    Registry& registry = TheRegistry();
    const std::lock_guard lock(registry.mutex);
    buffer->thread = registry.threads++;
    registry.buffers.push_back(buffer);
  }
  return *buffer;
}

}  // namespace

void StartTrace() { internal::tracing.store(true, std::memory_order_relaxed); }

void StopTrace() { internal::tracing.store(false, std::memory_order_relaxed); }

std::vector<ThreadTrace> TakeTrace() {
  Registry& registry = TheRegistry();
  const std::lock_guard lock(registry.mutex);
  std::vector<ThreadTrace> taken;
  for (const std::shared_ptr<ThreadTrace>& buffer : registry.buffers) {
    if (buffer->events.empty()) continue;
    taken.push_back({buffer->thread, std::exchange(buffer->events, {})});
  }
  // Threads that have ended leave nothing behind.
  std::erase_if(registry.buffers, [](const auto& buffer) { return buffer.use_count() == 1; });
  return taken;
}

int64_t TraceNow() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t TraceCpuNow() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{1'000'000'000} * now.tv_sec + now.tv_nsec;
}

void internal::RecordSpan(const TraceEvent& event) { BufferOfThisThread().events.push_back(event); }

}  // namespace filigree::kernels
