/* The kernels as PTX, made when timbre is built; "" if no Clang was there. */
#ifndef TMB_GPU_KERNELS_PTX_H
#define TMB_GPU_KERNELS_PTX_H

/* The second: for sm_90 and later, with dependent launch. */
extern const char tmb_gpu_ptx[], tmb_gpu_ptx_dependent[];

#endif
