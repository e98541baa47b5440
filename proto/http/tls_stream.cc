#include "proto/http/tls_stream.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>

#include <algorithm>

namespace filigree::http {

TlsStream::TlsStream(SSL_CTX* context, int socket, size_t most_bytes, std::chrono::milliseconds patience)
    : BoundedStream(socket, most_bytes, patience), ssl_(SSL_new(context), &SSL_free) {
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
  if (ssl_ != nullptr) SSL_set_fd(ssl_.get(), socket);
}

// Whether it makes sense to try again what ended in `result`; waits for that.
bool TlsStream::Again(int result, Clock::time_point until) const {
  const int error = SSL_get_error(ssl_.get(), result);
  ERR_clear_error();
  if (error == SSL_ERROR_WANT_READ) return Await(POLLIN, until);
  return error == SSL_ERROR_WANT_WRITE && Await(POLLOUT, until);
}

bool TlsStream::Accept() {
  if (ssl_ == nullptr) return false;
  for (;;) {
    ERR_clear_error();
    const int result = SSL_accept(ssl_.get());
    if (result == 1) return true;
    if (!Again(result, read_until())) return false;
  }
}

void TlsStream::Finish() {
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

bool TlsStream::is_readable() const { return SSL_pending(ssl_.get()) > 0 || BoundedStream::is_readable(); }

ssize_t TlsStream::read(char* to, size_t size) {
  const size_t most = std::min(size, bytes_left());
  for (;;) {
    if (most == 0) return -1;
    ERR_clear_error();
    const int got = SSL_read(ssl_.get(), to, static_cast<int>(most));
    if (got > 0) {
      Spend(static_cast<size_t>(got));
      return got;
    }
    if (!Again(got, read_until())) return -1;
  }
}

ssize_t TlsStream::write(const char* from, size_t size) {
  const Clock::time_point until = Clock::now() + patience();
  const int most = static_cast<int>(std::min<size_t>(size, 1 << 20));
  for (;;) {
    ERR_clear_error();
    const int sent = SSL_write(ssl_.get(), from, most);
    if (sent > 0) return sent;
    if (!Again(sent, until)) return -1;
  }
}

std::vector<std::string> UrisOfPeer(const SSL* ssl) {
  std::vector<std::string> uris;
  const std::unique_ptr<X509, decltype(&X509_free)> peer(SSL_get1_peer_certificate(ssl), &X509_free);
  if (peer == nullptr || SSL_get_verify_result(ssl) != X509_V_OK) return uris;
  auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(peer.get(), NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    uris.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                      static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  GENERAL_NAMES_free(names);
  return uris;
}

}  // namespace filigree::http
