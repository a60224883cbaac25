"""Names of tables as identifiers in C, which a compiler takes beside the standard headers."""

import re
from collections.abc import Iterable, Iterator

__all__ = ["identifiers", "plain"]

_KEYWORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const
const_cast constexpr continue decltype default delete do double dynamic_cast else enum explicit
export extern false float for friend fortran goto if inline int long mutable namespace new noexcept
not not_eq nullptr operator or or_eq private protected public register reinterpret_cast restrict
return short signed sizeof static static_assert static_cast struct switch template this
thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using
virtual void volatile wchar_t while xor xor_eq
"""
"""Of C and C++."""
_OF_MATH = """
acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh drem erf erfc exp exp10 exp2
expm1 fabs fdim finite floor fma fmax fmin fmod frexp gamma hypot ilogb isinf isnan j0 j1 jn ldexp
lgamma llrint llround log log10 log1p log2 logb lrint lround modf nan nearbyint nextafter
nexttoward pow remainder remquo rint round scalb scalbln scalbn significand sin sincos sinh sqrt
tan tanh tgamma trunc y0 y1 yn
"""
"""Each also with an f or an l at its end."""
_DECLARED = """
I L_ctermid L_tmpnam P_tmpdir a64l abort abs access alarm aligned_alloc alloca arc4random asctime
asprintf assert at_quick_exit atexit atof atoi atol atoll bcmp bcopy bsearch bzero calloc clearenv
clearerr clock close complex ctermid ctime daylight difftime div dprintf drand48 dup dup2 ecvt
environ erand48 errno exit fclose fcvt fd_mask fd_set fdopen feof ferror fflush ffs ffsl ffsll fgetc
fgetpos fgets fileno fmemopen fopen fork fpclassify fprintf fputc fputs fread free freopen fscanf
fseek fseeko fsetpos ftell ftello fwrite gcvt getc getchar getdelim getenv getline gets getsubopt
getw gmtime index initstate isalnum isalpha isascii isblank iscntrl isdigit isfinite isgraph
isgreater isgreaterequal isless islessequal islessgreater islower isnormal isprint ispunct isspace
isunordered isupper isxdigit jrand48 kill labs lcong48 ldiv lgamma_r lgammaf_r lgammal_r link linux
llabs lldiv localtime longjmp lrand48 main malloc math_errhandling mblen mbstowcs mbtowc memccpy
memchr memcmp memcpy memmem memmove mempcpy memset mkdtemp mkstemp mktemp mktime mrand48 nanosleep
nrand48 open pause pclose perror pipe popen printf putc putchar putenv puts putw qsort quick_exit
raise rand random read realloc realpath remove rename rewind rindex scanf seed48 select setbuf
setenv setjmp setstate setvbuf signal signbit signgam sleep snprintf sprintf srand srand48 srandom
sscanf stderr stdin stdout stpcpy stpncpy strcasecmp strcat strchr strcmp strcoll strcpy strcspn
strdup strerror strftime strlcat strlcpy strlen strncasecmp strncat strncmp strncpy strndup strnlen
strpbrk strptime strrchr strsep strspn strstr strtod strtof strtok strtol strtold strtoll strtoul
strtoull strxfrm system time timegm timelocal timezone tmpfile tmpnam toascii tolower toupper tzname
tzset u_char u_int u_long u_short uint ulong ungetc unix unlink unsetenv ushort usleep valloc
vfprintf vprintf vscanf vsnprintf vsprintf wait wcstombs wctomb write
"""
"""By the standard headers, and those of POSIX that these bring along."""
_RESERVED = {
    *_KEYWORDS.split(),
    *_DECLARED.split(),
    *(f"{name}{end}" for name in _OF_MATH.split() for end in ("", "f", "l")),
}
_KEPT = re.compile(
    r"_[A-Z_]\w*|\w+_t|[A-Z][A-Z0-9_]{2,}|(?:htobe|htole)(?:16|32|64)|(?:be|le)(?:16|32|64)toh"
)
"""What the language keeps for itself, types, and macros, which are written in capitals."""


def identifiers(names: Iterable[str], taken: Iterable[str] = ()) -> Iterator[str]:
    """One for each name, no two equal: those of a keyword, a macro or a function of the standard
    headers end with an underscore, and a second use of one with a number."""
    used = set(taken)
    for name in names:
        word = plain(name)
        if word in _RESERVED or _KEPT.fullmatch(word):
            word = f"{word}_"
        found, count = word, 1
        while found in used:
            count += 1
            found = f"{word}_{count}"
        used.add(found)
        yield found


def plain(name: str) -> str:
    """The name in letters, digits and underscores."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
    if word[0].isdigit():
        return f"_{word}"
    return word
