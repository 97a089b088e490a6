/* emulate.h - kernels for fake_cuda that compute what a GPU's would. */
#ifndef EMULATE_H
#define EMULATE_H

/* Gives every kernel of the program something to do. */
void fake_cuda_emulate(void);

#endif
