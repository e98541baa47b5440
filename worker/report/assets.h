#ifndef FILIGREE_WORKER_REPORT_ASSETS_H_
#define FILIGREE_WORKER_REPORT_ASSETS_H_

// Style sheet and script of the page, both inside it.

namespace filigree::report {

extern const char kStyle[];
extern const char kScript[];

}  // namespace filigree::report

#endif  // FILIGREE_WORKER_REPORT_ASSETS_H_
