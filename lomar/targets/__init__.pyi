from .frozen import Frozen as Frozen
from .hog import HOGTarget as HOGTarget
from .teacher import TeacherTarget as TeacherTarget
from .tokenizer import PatchTokenizer as PatchTokenizer
from .tokenizer import Tokenizer as Tokenizer
from .tokens import TokenTarget as TokenTarget
