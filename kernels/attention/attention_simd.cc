#include "kernels/attention/attention.h"

namespace filigree::kernels {

void AttentionForward(const AttentionForwardArgs& args) { ref::AttentionForward(args); }
void AttentionBackward(const AttentionBackwardArgs& args) { ref::AttentionBackward(args); }

}  // namespace filigree::kernels
