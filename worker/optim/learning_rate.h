#ifndef FILIGREE_WORKER_OPTIM_LEARNING_RATE_H_
#define FILIGREE_WORKER_OPTIM_LEARNING_RATE_H_

#include <cstdint>

#include "worker/config/settings.h"

// The learning rate of step s of S, in double:
//
//   lr = base * warmup_decay(s) * sqrt(f_w,final / f_w(s))        the last factor where lr_density_scaling is on
//   w = floor(warmup * S);  warmup_decay = s / w for s < w, else (S - s) / (S - w)
//
// So the first step has lr 0 (w = 0: no warmup) and the last a factor 1 / (S - w). Source: Gao et al. 2025, App. A.1.

namespace filigree::optim {

double LearningRate(const config::OptimSettings& settings, int64_t steps, int64_t s, double density,
                    double final_density);

}  // namespace filigree::optim

#endif  // FILIGREE_WORKER_OPTIM_LEARNING_RATE_H_
