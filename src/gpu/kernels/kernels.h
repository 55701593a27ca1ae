/* All kernels, in one unit: compiled to PTX for GPUs, and by the CPU's compiler for the tests. */
#include "dialect.h"

#include "attend.h"

#include "attend_few.h"
#include "attend_rows.h"
#include "codec.h"
#include "codec_attend.h"
#include "encode.h"
#include "encode_codes.h"
#include "linear.h"
#include "linear_mma.h"
#include "linear_wide.h"
#include "pick.h"
