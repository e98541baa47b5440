#ifndef FILIGREE_WORKER_RUN_STOP_H_
#define FILIGREE_WORKER_RUN_STOP_H_

namespace filigree::train {

// SIGINT, SIGTERM and SIGUSR1 (which mpirun passes on to its processes; at the others it kills them) ask for a stop:
// the step in progress is finished, a checkpoint written. A second one ends the process at once. Process-wide; call
// once before training.
void CatchStopSignals();

// Has a stop been asked for?
bool StopRequested();

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_RUN_STOP_H_
