#ifndef FILIGREE_PROTO_HTTP_TLS_STREAM_H_
#define FILIGREE_PROTO_HTTP_TLS_STREAM_H_

#include <openssl/ssl.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "proto/http/bounded_stream.h"

namespace filigree::http {

// The same with TLS: the handshake counts towards the deadline of reading, not towards the bytes.
class TlsStream : public BoundedStream {
 public:
  // Makes the socket one that does not block.
  TlsStream(SSL_CTX* context, int socket, size_t most_bytes, std::chrono::milliseconds patience);

  // The handshake. False: there was none in time, or the client's certificate is not trusted.
  bool Accept();
  // Tells the peer that nothing follows; waits for nothing.
  void Finish();

  bool is_readable() const override;
  bool is_writable() const override { return true; }  // write waits itself
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;

  SSL* ssl() const { return ssl_.get(); }

 private:
  bool Again(int result, Clock::time_point until) const;

  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
};

// URIs among the alternative names of the client's certificate, which was verified; empty: it showed none.
std::vector<std::string> UrisOfPeer(const SSL* ssl);

}  // namespace filigree::http

#endif  // FILIGREE_PROTO_HTTP_TLS_STREAM_H_
