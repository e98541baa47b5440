#include "kernels/base/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels/base/check.h"

namespace filigree::kernels {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;

// Large arrays come straight from the kernel: already zero, page by page as they are touched.
bool IsMapped(size_t bytes) { return bytes >= kHugePage; }
size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// What is refused is dealt with as operator new does it: whoever has set a handler ends the process in its own way.
void CheckAllocated(bool allocated, size_t bytes) {
  if (allocated) return;
  if (const std::new_handler handler = std::get_new_handler(); handler != nullptr) handler();
  CHECK(false, "cannot allocate {} bytes", bytes);
}

void* MapAlignedToHugePages(size_t bytes) {
  const size_t wanted = RoundUp(bytes, kHugePage);
  void* p = mmap(nullptr, wanted + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CheckAllocated(p != MAP_FAILED, bytes);
  // Cut the mapping to an aligned range, so that it can be unmapped by its address and size alone.
  char* begin = static_cast<char*>(p);
  const size_t address = reinterpret_cast<size_t>(begin);
  char* aligned = begin + (RoundUp(address, kHugePage) - address);
  if (aligned > begin) munmap(begin, aligned - begin);
  char* end = begin + wanted + kHugePage;
  if (end > aligned + wanted) munmap(aligned + wanted, end - (aligned + wanted));
  madvise(aligned, wanted, MADV_HUGEPAGE);
  return aligned;
}

}  // namespace

void* AllocateZeroed(size_t bytes) {
  if (bytes == 0) return nullptr;
  if (IsMapped(bytes)) return MapAlignedToHugePages(bytes);
  void* p = std::aligned_alloc(kLine, RoundUp(bytes, kLine));
  CheckAllocated(p != nullptr, bytes);
  std::memset(p, 0, RoundUp(bytes, kLine));
  return p;
}

void FreeAllocated(void* p, size_t bytes) {
  if (p == nullptr) return;
  if (IsMapped(bytes)) {
    munmap(p, RoundUp(bytes, kHugePage));
  } else {
    std::free(p);
  }
}

}  // namespace filigree::kernels
