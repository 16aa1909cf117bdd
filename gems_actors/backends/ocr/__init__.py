"""Reads the texts in pictures with RapidOCR (PP-OCRv4, Chinese and English), in a separate process on the CPU.

Needs the extra `ocr`. The models are in its package, so nothing is downloaded.
"""
