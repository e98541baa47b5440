#include <memory>
#include <utility>
#include <variant>

#include "coordinator/rpc/services.h"
#include "coordinator/rpc/to_wire.h"
#include "coordinator/rpc/views.h"

namespace filigree::coordinator {

grpc::ServerUnaryReactor* CoordinatorService::Submit(grpc::CallbackServerContext* context,
                                                     const v1::SubmitRequest* request, v1::SubmitReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kSubmit, context, request, reply,
                [&desk](const SubmitRequest& submit, int64_t, v1::SubmitReply* wire, const auto& done) {
                  const auto made = desk.Settle(desk.core().Submit(Desk::Time(), submit));
                  if (made.ok()) ToWire(*made, *wire);
                  done(made.status());
                });
}

grpc::ServerUnaryReactor* CoordinatorService::Get(grpc::CallbackServerContext* context, const v1::GetRequest* request,
                                                  v1::Job* reply) {
  Desk& desk = front_.desk;
  return Answer(
      front_, Method::kGet, context, request, reply,
      [&desk](const GetQuery& query, int64_t, v1::Job* wire, const auto& done) {
        const JobRow* row = desk.core().tables().FindJob(query.job);
        if (row == nullptr)
          return done(absl::NotFoundError("job " + query.job + " is not known here; list the jobs for their names"));
        *wire = ViewOfJob(desk.core(), *row, Desk::Time().monotonic_us);
        done(absl::OkStatus());
      });
}

grpc::ServerUnaryReactor* CoordinatorService::List(grpc::CallbackServerContext* context, const v1::ListRequest* request,
                                                   v1::ListReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kList, context, request, reply,
                [&desk](const ListQuery& query, int64_t, v1::ListReply* wire, const auto& done) {
                  *wire = ListJobs(desk.core(), query, Desk::Time().monotonic_us);
                  done(absl::OkStatus());
                });
}

grpc::ServerUnaryReactor* CoordinatorService::ListWorkers(grpc::CallbackServerContext* context,
                                                          const v1::ListWorkersRequest* request,
                                                          v1::ListWorkersReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kListWorkers, context, request, reply,
                [&desk](const ListWorkersQuery& query, int64_t, v1::ListWorkersReply* wire, const auto& done) {
                  *wire = coordinator::ListWorkers(desk.core(), query);
                  done(absl::OkStatus());
                });
}

grpc::ServerWriteReactor<v1::WatchReply>* CoordinatorService::Watch(grpc::CallbackServerContext* context,
                                                                    const v1::WatchRequest* request) {
  std::shared_ptr<WatchStream> stream = WatchStream::Make(context, front_.limits.watch_queue);
  const auto caller = Admit(front_, *context, Method::kWatch);
  const auto query = FromWire(*request, front_.limits);
  if (!caller.ok() || !query.ok()) {
    stream->End(caller.ok() ? query.status() : caller.status());
    return stream.get();
  }
  const int64_t until_us = DeadlineOf(*context, front_.limits.watch_deadline);
  Desk& desk = front_.desk;
  const absl::Status posted = front_.strand.Post([&desk, query = *query, until_us, stream] {
    desk.watchers().Add(desk.core(), query, Desk::Time().monotonic_us, until_us, stream);
  });
  if (!posted.ok()) stream->End(posted);
  return stream.get();
}

grpc::ServerWriteReactor<v1::ReadLogReply>* CoordinatorService::ReadLog(grpc::CallbackServerContext* context,
                                                                        const v1::ReadLogRequest* request) {
  std::shared_ptr<LogStream> stream = LogStream::Make(context, front_.limits.log_queue);
  const auto query = AdmitRequest(front_, Method::kReadLog, *context, *request);
  if (!query.ok()) {
    stream->End(query.status());
    return stream.get();
  }
  const int64_t until_us = DeadlineOf(*context, front_.limits.watch_deadline);
  Desk& desk = front_.desk;
  const absl::Status posted = front_.strand.Post([&desk, query = *query, until_us, stream] {
    desk.log_readers().Add(desk.core().tables(), query, until_us, stream);
  });
  if (!posted.ok()) stream->End(posted);
  return stream.get();
}

grpc::ServerUnaryReactor* CoordinatorService::Cancel(grpc::CallbackServerContext* context,
                                                     const v1::CancelRequest* request, v1::CancelReply* reply) {
  Desk& desk = front_.desk;
  return Answer(front_, Method::kCancel, context, request, reply,
                [&desk](const CancelRequest& cancel, int64_t, v1::CancelReply*, const auto& done) {
                  done(desk.Settle(desk.core().Cancel(Desk::Time(), cancel)).status());
                });
}

grpc::ServerUnaryReactor* CoordinatorService::Drain(grpc::CallbackServerContext* context,
                                                    const v1::DrainRequest* request, v1::DrainReply* reply) {
  Desk& desk = front_.desk;
  return Answer(
      front_, Method::kDrain, context, request, reply,
      [&desk](const DrainQuery& drain, int64_t, v1::DrainReply*, const auto& done) {
        const auto* job = std::get_if<DrainJobRequest>(&drain);
        done(job != nullptr
                 ? desk.Settle(desk.core().DrainJob(Desk::Time(), *job)).status()
                 : desk.Settle(desk.core().DrainWorker(Desk::Time(), std::get<DrainWorkerRequest>(drain))).status());
      });
}

}  // namespace filigree::coordinator
