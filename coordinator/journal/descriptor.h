#ifndef FILIGREE_COORDINATOR_JOURNAL_DESCRIPTOR_H_
#define FILIGREE_COORDINATOR_JOURNAL_DESCRIPTOR_H_

#include <unistd.h>

namespace filigree::coordinator {

// An open file, closed with it. Negative: none.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_JOURNAL_DESCRIPTOR_H_
