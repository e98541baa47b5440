#pragma once
int Bench();
