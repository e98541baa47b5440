#include "proto/http/bounded_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace filigree::http {

BoundedStream::BoundedStream(int socket, size_t most_bytes, std::chrono::milliseconds patience)
    : socket_(socket), patience_(patience), read_until_(Clock::now() + patience), bytes_left_(most_bytes) {}

bool BoundedStream::Await(short what, Clock::time_point until) const {  // NOLINT(google-runtime-int)
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) return false;
    pollfd waited = {socket_, what, 0};
    const int ready = ::poll(&waited, 1, static_cast<int>(left));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

bool BoundedStream::is_readable() const { return bytes_left_ > 0 && Await(POLLIN, read_until_); }
bool BoundedStream::is_writable() const { return Await(POLLOUT, Clock::now() + patience_); }

ssize_t BoundedStream::read(char* to, size_t size) {
  if (!is_readable()) return -1;
  const ssize_t got = ::recv(socket_, to, std::min(size, bytes_left_), 0);
  if (got > 0) bytes_left_ -= static_cast<size_t>(got);
  return got;
}

ssize_t BoundedStream::write(const char* from, size_t size) {
  return is_writable() ? ::send(socket_, from, size, MSG_DONTWAIT | MSG_NOSIGNAL) : -1;
}

// Nobody asks who reads.
void BoundedStream::get_remote_ip_and_port(std::string& /*ip*/, int& /*port*/) const {}
void BoundedStream::get_local_ip_and_port(std::string& /*ip*/, int& /*port*/) const {}

}  // namespace filigree::http
