// A wall clock that is wrong, for the process that is started with this library in LD_PRELOAD. The file that
// FILIGREE_TEST_CLOCK names holds 8 bytes: by how many nanoseconds its wall clock is ahead, and may be written at any
// time; the clock then jumps. Whoever waits until a moment of the wall clock wakes up by the clock that jumped, as with
// the kernel's own. Monotonic clocks and times of files stay as they are.

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kLook = kSecond / 20;  // how often a waiting thread looks whether the clock has jumped

int64_t Nanoseconds(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

timespec TimeOf(int64_t nanoseconds) {
  timespec time;
  time.tv_sec = nanoseconds / kSecond;
  time.tv_nsec = nanoseconds % kSecond;
  return time;
}

const std::atomic<int64_t>* Map() {
  const char* path = std::getenv("FILIGREE_TEST_CLOCK");
  const int file = path == nullptr ? -1 : ::open(path, O_RDONLY | O_CLOEXEC);
  void* bytes = file < 0 ? MAP_FAILED : ::mmap(nullptr, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  if (bytes == MAP_FAILED) {
    std::fputs("wall_clock: FILIGREE_TEST_CLOCK is to name a file of 8 bytes\n", stderr);
    std::_Exit(97);
  }
  ::close(file);
  return static_cast<const std::atomic<int64_t>*>(bytes);
}

// What is looked up once. Not a static of a function: threads that meet at its guard wait in syscall(), which is here.
template <typename T>
class Once {
 public:
  template <typename Find>
  T* Get(const Find& find) {
    T* found = found_.load(std::memory_order_acquire);
    if (found != nullptr) return found;
    found = find();  // several threads may: they find the same
    found_.store(found, std::memory_order_release);
    return found;
  }

 private:
  std::atomic<T*> found_{nullptr};
};

template <typename Function>
class Real {
 public:
  Function* Get(const char* name, const char* version) {
    return found_.Get([&] { return reinterpret_cast<Function*>(::dlvsym(RTLD_NEXT, name, version)); });
  }

 private:
  Once<Function> found_;
};

constinit Once<const std::atomic<int64_t>> ahead_of_time;
constinit Real<int(clockid_t, timespec*)> real_clock;
constinit Real<long(long, ...)> real_syscall;
constinit Real<int(pthread_cond_t*, pthread_mutex_t*, const timespec*)> real_timedwait;

int64_t Ahead() { return ahead_of_time.Get(Map)->load(std::memory_order_relaxed); }

int RealTime(clockid_t clock, timespec* time) { return real_clock.Get("clock_gettime", "GLIBC_2.17")(clock, time); }

bool OfTheWall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

int64_t RealNow() {
  timespec time = {};
  RealTime(CLOCK_REALTIME, &time);
  return Nanoseconds(time);
}

long RealCall(long number, const long* words) {
  return real_syscall.Get("syscall", "GLIBC_2.2.5")(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

// A futex that waits until a moment of the wall clock. It compares its word every time: nothing is missed in between.
long WaitOnFutex(long* words) {
  const int64_t until = Nanoseconds(*reinterpret_cast<const timespec*>(words[3]));
  for (;;) {
    const int64_t now = RealNow(), ahead = Ahead();
    const timespec look = TimeOf(std::max<int64_t>(std::min(until - ahead, now + kLook), 0));
    words[3] = reinterpret_cast<long>(&look);
    const long result = RealCall(SYS_futex, words);
    if (result != -1 || errno != ETIMEDOUT || RealNow() + Ahead() >= until) return result;
  }
}

// Looked up before there are threads: one that asked the loader while it loads for another would wait for it.
[[gnu::constructor]] void LookUp() {
  timespec now = {};
  RealTime(CLOCK_REALTIME, &now);
  real_syscall.Get("syscall", "GLIBC_2.2.5");
  real_timedwait.Get("pthread_cond_timedwait", "GLIBC_2.3.2");
  Ahead();
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const int result = RealTime(clock, time);
  if (result == 0 && OfTheWall(clock)) *time = TimeOf(Nanoseconds(*time) + Ahead());
  return result;
}

int gettimeofday(timeval* time, void*) noexcept {
  const int64_t now = RealNow() + Ahead();
  time->tv_sec = now / kSecond;
  time->tv_usec = now % kSecond / 1000;
  return 0;
}

time_t time(time_t* to) noexcept {
  const time_t now = (RealNow() + Ahead()) / kSecond;
  if (to != nullptr) *to = now;
  return now;
}

// A wait that is over early looks like one of the spurious ones, which callers are ready for.
int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex, const timespec* until) {
  auto* const real = real_timedwait.Get("pthread_cond_timedwait", "GLIBC_2.3.2");
  if (until->tv_sec < 1'000'000'000) return real(condition, mutex, until);  // of a monotonic clock
  const timespec look = TimeOf(std::min(Nanoseconds(*until) - Ahead(), RealNow() + kLook));
  const int result = real(condition, mutex, &look);
  return result == ETIMEDOUT && RealNow() + Ahead() < Nanoseconds(*until) ? 0 : result;
}

long syscall(long number, ...) noexcept {
  long words[6];
  va_list more;
  va_start(more, number);
  for (long& word : words) word = va_arg(more, long);
  va_end(more);
  const bool waits = number == SYS_futex && (words[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET &&
                     (words[1] & FUTEX_CLOCK_REALTIME) != 0 && words[3] != 0;
  return waits ? WaitOnFutex(words) : RealCall(number, words);
}

}  // extern "C"
