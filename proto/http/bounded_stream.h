#ifndef FILIGREE_PROTO_HTTP_BOUNDED_STREAM_H_
#define FILIGREE_PROTO_HTTP_BOUNDED_STREAM_H_

#include <httplib.h>

#include <chrono>
#include <string>

namespace filigree::http {

// A connection from which so many bytes are read at most, all of them until a deadline; each write has as long. Beyond
// that it is broken: reads and writes fail. Borrows the socket.
class BoundedStream : public httplib::Stream {
 public:
  BoundedStream(int socket, size_t most_bytes, std::chrono::milliseconds patience);

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  int socket() const override { return socket_; }

 protected:
  using Clock = std::chrono::steady_clock;
  bool Await(short what, Clock::time_point until) const;  // NOLINT(google-runtime-int): as poll(2) has it
  Clock::time_point read_until() const { return read_until_; }
  std::chrono::milliseconds patience() const { return patience_; }
  size_t bytes_left() const { return bytes_left_; }
  void Spend(size_t bytes) { bytes_left_ -= bytes; }

 private:
  const int socket_;
  const std::chrono::milliseconds patience_;
  const Clock::time_point read_until_;
  size_t bytes_left_;
};

}  // namespace filigree::http

#endif  // FILIGREE_PROTO_HTTP_BOUNDED_STREAM_H_
