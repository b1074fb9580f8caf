"""The data of the course: seeded toy sets, spirals, four years of weather, the visits of
312 patients, spoken vowels, sentences, graphs, MNIST and Fashion-MNIST.

The weather, the visits, the vowels and a real subset of both image sets travel with the
package, so that the whole book builds with no network: the first 10,000 training images
and all 10,000 test images of each. The full sets are found as `images` says. Every file is
checked against its SHA-256 before it is used, wherever it came from.
"""

from course_lib.data.files import (
    BUNDLED,
    DataError,
    checksums,
    read_bundled_file,
    read_checked,
)
from course_lib.data.graphs import (
    Graph,
    block_model,
    karate_club,
    nearest_neighbours,
    ring,
)
from course_lib.data.images import (
    FASHION_MNIST,
    MNIST,
    TEST_FILES,
    TRAIN_FILES,
    Archive,
    ImageSet,
    cache_folder,
    download,
    fashion_mnist,
    find_full,
    load_images,
    mnist,
    parse_idx,
    read_bundled,
)
from course_lib.data.sentences import (
    DETERMINERS,
    NOUNS,
    STANDING,
    TAKING,
    WHEN,
    grammar,
    sentences,
)
from course_lib.data.series import (
    VOWELS_SHA256,
    Series,
    high_and_low,
    leads,
    vowels,
)
from course_lib.data.spirals import (
    Spirals,
    diverse_spirals,
    thin,
    two_armed_spirals,
    windows,
)
from course_lib.data.toys import (
    concentric_circles,
    cubic,
    generator,
    linear_spiral,
    two_moons,
)
from course_lib.data.visits import (
    VISITS_SHA256,
    Visits,
    visits,
)
from course_lib.data.weather import (
    WEATHER_SHA256,
    Weather,
    weather,
)

__all__ = [
    "BUNDLED",
    "DETERMINERS",
    "FASHION_MNIST",
    "MNIST",
    "NOUNS",
    "STANDING",
    "TAKING",
    "TEST_FILES",
    "TRAIN_FILES",
    "VISITS_SHA256",
    "VOWELS_SHA256",
    "WEATHER_SHA256",
    "WHEN",
    "Archive",
    "DataError",
    "Graph",
    "ImageSet",
    "Series",
    "Spirals",
    "Visits",
    "Weather",
    "block_model",
    "cache_folder",
    "checksums",
    "concentric_circles",
    "cubic",
    "diverse_spirals",
    "download",
    "fashion_mnist",
    "find_full",
    "generator",
    "grammar",
    "high_and_low",
    "karate_club",
    "leads",
    "linear_spiral",
    "load_images",
    "mnist",
    "nearest_neighbours",
    "parse_idx",
    "read_bundled",
    "read_bundled_file",
    "read_checked",
    "ring",
    "sentences",
    "thin",
    "two_armed_spirals",
    "two_moons",
    "visits",
    "vowels",
    "weather",
    "windows",
]
