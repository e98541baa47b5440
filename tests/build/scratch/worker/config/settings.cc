#include "worker/config/settings.h"
int Threads() { return 2; }
