#ifndef FILIGREE_WORKER_AGENT_CALLS_H_
#define FILIGREE_WORKER_AGENT_CALLS_H_

#include <grpcpp/client_context.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>

namespace filigree::agent {

// Calls under way, so that they can be given up where this process is to end. Threads: any.
class Calls {
 public:
  // False: they are given up, and this one is not to be begun. Whoever enters leaves, when the call has come back.
  bool Enter(grpc::ClientContext* context);
  void Leave(grpc::ClientContext* context);

  // Gives up all of them and waits until they have come back.
  void Close();

 private:
  std::mutex mutex_;
  std::condition_variable left_;
  std::set<grpc::ClientContext*> under_way_;  // guarded by mutex_
  bool closed_ = false;                       // guarded by mutex_
};

// One call of `method` of `stub`, blocking.
template <typename Stub, typename Request, typename Reply>
grpc::Status CallNow(Calls& calls, Stub& stub,
                     grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*), const Request& request,
                     Reply* reply, std::chrono::microseconds deadline) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + deadline);
  if (!calls.Enter(&context)) return {grpc::StatusCode::CANCELLED, "the worker ends"};
  grpc::Status status = (stub.*method)(&context, request, reply);
  calls.Leave(&context);
  return status;
}

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_CALLS_H_
