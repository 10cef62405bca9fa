#!/bin/sh
# Takes out of an environment what the service never uses: slim.sh /opt/pi10
# The list is for reading; docker/exercise.py, run right after it, proves that nothing is missed.
set -eu
cd "$1"/lib/python3*/site-packages

# tests, headers, sources of compiled modules, type stubs, maps of minified scripts
find . -depth -type d \( -name tests -o -name SelfTest -o -name include \) -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.[ch]' -o -name '*.cpp' \
    -o -name '*.pxi' -o -name '*.a' -o -name '*.map' \) -delete

# Arrow over the network; one file instead of three with the same bytes
rm -f pyarrow/_flight* pyarrow/libarrow_flight* pyarrow/libarrow_python_flight*
for copy in pyarrow/*.so.*.*.*; do
    kept=${copy%.*.*}
    cmp -s "$copy" "$kept" || continue
    rm "$copy" && ln -s "$(basename "$kept")" "$copy"
    ln -sf "$(basename "$kept")" "${kept%.*}"
done

# the C library beside the Python module that holds it all, and tools for making models
rm -rf onnxruntime/capi/libonnxruntime.so.* onnxruntime/transformers onnxruntime/quantization \
    onnxruntime/tools onnxruntime/datasets

# of scipy the intervals of abundance.py use scipy.special
for part in cluster datasets differentiate fft fftpack integrate interpolate io linalg ndimage odr \
    optimize signal sparse spatial stats; do
    rm -rf "scipy/$part"
done

# of fontTools matplotlib's SVG, which reports hold, uses a list of glyph names
for part in cffLib colorLib config cu2qu designspaceLib feaLib merge mtiLib otlLib pens qu2cu subset \
    svgLib ttLib ufoLib unicodedata varLib voltLib; do
    rm -rf "fontTools/$part"
done

# matplotlib's examples, fonts of PostScript and PDF, and of mathematics: reports hold SVG
rm -rf matplotlib/mpl-data/sample_data matplotlib/mpl-data/fonts/afm \
    matplotlib/mpl-data/fonts/pdfcorefonts
find matplotlib/mpl-data/fonts/ttf -name '*.ttf' -not -name 'DejaVuSans*' \
    -not -name 'LastResort*' -delete

# AVIF images, which decode.py never takes
rm -f PIL/_avif*.so pillow.libs/libavif*

# rich colours no source code here
find pygments/lexers -name '[a-z]*.py' -delete

# who made which network card
rm -f netaddr/eui/*.txt netaddr/eui/*.idx

# symbols that only debuggers and linkers read; the libraries that wheels carry along (NAME.libs)
# are laid out so that strip breaks them
find . -type f -name '*.so*' -not -path './*.libs/*' -exec strip --strip-unneeded {} +
# bytecode is written anew, for the modules that are used
find . -depth -type d -name __pycache__ -exec rm -rf {} +
