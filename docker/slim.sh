#!/bin/sh
# Removes the parts of an environment that the service never uses: slim.sh /opt/pi10
# docker/exercise.py runs after it and checks that nothing needed is missing.
set -eu
cd "$1"/lib/python3*/site-packages

# tests, headers, sources of compiled modules, type stubs, source maps of scripts
find . -depth -type d \( -name tests -o -name SelfTest -o -name include \) -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.[ch]' -o -name '*.cpp' \
    -o -name '*.pxi' -o -name '*.a' -o -name '*.map' \) -delete

# Arrow's network parts; and one file instead of three identical ones
rm -f pyarrow/_flight* pyarrow/libarrow_flight* pyarrow/libarrow_python_flight*
for copy in pyarrow/*.so.*.*.*; do
    kept=${copy%.*.*}
    cmp -s "$copy" "$kept" || continue
    rm "$copy" && ln -s "$(basename "$kept")" "$copy"
    ln -sf "$(basename "$kept")" "${kept%.*}"
done

# the C library, which the Python module already includes, and tools for making models
rm -rf onnxruntime/capi/libonnxruntime.so.* onnxruntime/transformers onnxruntime/quantization \
    onnxruntime/tools onnxruntime/datasets

# the intervals of densities use only scipy.special
for part in cluster datasets differentiate fft fftpack integrate interpolate io linalg ndimage odr \
    optimize signal sparse spatial stats; do
    rm -rf "scipy/$part"
done

# matplotlib's SVG output, which reports contain, uses only a list of glyph names of fontTools
for part in cffLib colorLib config cu2qu designspaceLib feaLib merge mtiLib otlLib pens qu2cu subset \
    svgLib ttLib ufoLib unicodedata varLib voltLib; do
    rm -rf "fontTools/$part"
done

# matplotlib's examples, and fonts for PostScript, PDF and mathematics: reports contain SVG
rm -rf matplotlib/mpl-data/sample_data matplotlib/mpl-data/fonts/afm \
    matplotlib/mpl-data/fonts/pdfcorefonts
find matplotlib/mpl-data/fonts/ttf -name '*.ttf' -not -name 'DejaVuSans*' \
    -not -name 'LastResort*' -delete

# AVIF images, which decode.py does not read
rm -f PIL/_avif*.so pillow.libs/libavif*

# rich's highlighting of source code, which is not used here
find pygments/lexers -name '[a-z]*.py' -delete

# a list of manufacturers of network cards
rm -f netaddr/eui/*.txt netaddr/eui/*.idx

# symbols for debuggers and linkers only; not in the libraries inside wheels (NAME.libs), which strip
# would break
find . -type f -name '*.so*' -not -path './*.libs/*' -exec strip --strip-unneeded {} +
# bytecode is written again later, only for the modules that are used
find . -depth -type d -name __pycache__ -exec rm -rf {} +
