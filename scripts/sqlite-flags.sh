# SQLite: which, and built how. Sourced by scripts/build-sqlite. Apart from versions.sh, so that a new SQLite
# does not build llama.cpp anew. Its one source file comes inside this npm package, under deps/sqlite3.
sqlite_package_version=12.11.1
sqlite_package_sha256=ebf0ed75a7a59dbcb3b24bbd014ef49d9f15bc328e4adcbf516f2a8fadfa2835

# https://sqlite.org/compile.html, "Recommended Compile-time Options", beside what Parley uses and what Debian
# has too (deleted rows are overwritten). Debian's library does without lookaside: each small piece of memory
# is malloc()'s there, 160 times in a request. Each connection is one thread's at a time: THREADSAFE=2.
sqlite_flags() {
    echo -O2 -g -fPIC -DNDEBUG \
        -DSQLITE_ENABLE_FTS5 -DSQLITE_ENABLE_MATH_FUNCTIONS -DSQLITE_SECURE_DELETE \
        -DSQLITE_THREADSAFE=2 -DSQLITE_DEFAULT_MEMSTATUS=0 -DSQLITE_DQS=0 -DSQLITE_LIKE_DOESNT_MATCH_BLOBS \
        -DSQLITE_USE_ALLOCA -DSQLITE_OMIT_DEPRECATED -DSQLITE_OMIT_PROGRESS_CALLBACK -DSQLITE_OMIT_SHARED_CACHE \
        -DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_OMIT_DECLTYPE \
        -DHAVE_STDINT_H=1 -DHAVE_USLEEP=1 -DHAVE_FDATASYNC=1 -DHAVE_LOCALTIME_R=1 -DHAVE_PREAD=1 -DHAVE_PWRITE=1
}
