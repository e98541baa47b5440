#pragma once
inline int Red() { return 1; }
