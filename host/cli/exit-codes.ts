/** Exit codes of `sysexits.h`, where the field uses them. */
export const EXIT_FAILED = 1
export const EXIT_USAGE = 64
export const EXIT_SOFTWARE = 70
export const EXIT_CONFIG = 78
