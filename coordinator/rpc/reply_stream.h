#ifndef FILIGREE_COORDINATOR_RPC_REPLY_STREAM_H_
#define FILIGREE_COORDINATOR_RPC_REPLY_STREAM_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "filigree/v1/coordinator.pb.h"

namespace filigree::coordinator {

// One reader of a stream of replies. What it has not read yet waits in a queue of at most `capacity` messages; a reader
// that lets it run full is told so and dropped, and nobody else waits for it.
//
// Threads: any. Lifetime: it holds itself until gRPC is done with the call; the hub holds another reference.
template <typename Reply>
class ReplyStream : public grpc::ServerWriteReactor<Reply> {
 public:
  using Message = std::shared_ptr<const Reply>;

  static std::shared_ptr<ReplyStream> Make(grpc::CallbackServerContext* context, size_t capacity);

  // False: the queue is full, and this message is the one that ends the stream.
  bool Push(Message message);

  // What waits is still sent, then the call ends with `status`. Later pushes and ends are not looked at.
  void End(const absl::Status& status);

  size_t waiting() const;  // messages that gRPC has not taken yet
  bool ended() const;      // there is nothing more to tell it
  bool over() const;       // gRPC has closed the call
  void CutOff();           // at once, without words: for one that does not even read its end

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  ReplyStream(grpc::CallbackServerContext* context, size_t capacity) : context_(context), capacity_(capacity) {}
  void EndLocked(const absl::Status& status);
  void Pump();  // with the mutex held

  grpc::CallbackServerContext* const context_;
  const size_t capacity_;
  std::shared_ptr<ReplyStream> self_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::deque<Message> queue_;
  Message writing_;  // gRPC reads it
  bool ended_ = false, finished_ = false, over_ = false;
  absl::Status end_;
};

extern template class ReplyStream<v1::WatchReply>;
extern template class ReplyStream<v1::ReadLogReply>;
using WatchStream = ReplyStream<v1::WatchReply>;
using LogStream = ReplyStream<v1::ReadLogReply>;

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_REPLY_STREAM_H_
